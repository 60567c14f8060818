"""The report: one immutable value that becomes the JSON of `report:SYMBOL`.

Field order is the order in the JSON. docs/schemas/report.json is the contract; a test holds both together.
`None` means "not known" and becomes `null`; a quantity of nothing is never dressed up as 0.
"""

from typing import Final, Literal

import msgspec

SCHEMA_VERSION: Final = "1.2"
REPORT_VERSION: Final = "1.0.0"

Severity = Literal["low", "medium", "high"]
IngestionStatus = Literal["ok", "degraded", "down"]


class _Part(msgspec.Struct, frozen=True, gc=False):
    pass


class Stamp(_Part, frozen=True):
    """What the edge knows and the market does not: the writer, the Kafka partition, the wall time in ns.

    `not_before_ns` is the time of the symbol's last report: that of the next never falls behind it, whatever the wall
    clock does. Ages are reckoned by `wall_ns` alone.
    """

    node_id: str
    writer_token: int
    partition: int
    wall_ns: int
    not_before_ns: int = 0


class Writer(_Part, frozen=True):
    """The worker that wrote the report and the epoch under which it did."""

    nodeId: str
    writerToken: int


class Level(_Part, frozen=True):
    """One price level, `qty` in base units."""

    price: float
    qty: float


class Confidence(_Part, frozen=True):
    """How much of its window each windowed metric has seen, 0 to 1; 1 is a full window."""

    flow: float
    quantity_history: float
    volume_profile: float


class Ingestion(_Part, frozen=True):
    """How fresh and how complete the events are.

    `last_event_age_ms` runs on the monotonic clock since the newest arrived; `watched_sec` is the event time
    since the first event that the report rests on. `stale` is set by a reader whose store was not written for a
    while: the writer is gone, and status is `down` whatever it was.
    """

    status: IngestionStatus
    last_event_age_ms: int
    watched_sec: int
    confidence: Confidence
    stale: bool = False


class Depth(_Part, frozen=True):
    """The top 20 a side, best first, and their sums in base units."""

    top_bids: tuple[Level, ...] = ()
    top_asks: tuple[Level, ...] = ()
    sum_bid: float | None = None
    sum_ask: float | None = None
    imbalance: float | None = None


class Flow(_Part, frozen=True):
    """Trades a second over 10 s, and signed base quantity over the flow window."""

    orders_per_sec: float | None = None
    net_flow: float | None = None


class Wall(_Part, frozen=True):
    """A visible level of outstanding size."""

    side: Literal["bid", "ask"]
    price: float
    qty: float
    severity: Severity


class Vacuum(_Part, frozen=True):
    """A run of thin visible levels between two prices."""

    from_: float = msgspec.field(name="from")
    to: float
    severity: Severity


class VolumeProfile(_Part, frozen=True):
    """Where volume traded over `window_sec`: point of control and value area."""

    POC: float
    VAH: float
    VAL: float
    window_sec: int
    trade_count: int


class Liquidity(_Part, frozen=True):
    """Walls, vacuums and volume profile; `None` where not known."""

    walls: tuple[Wall, ...] | None = None
    vacuums: tuple[Vacuum, ...] | None = None
    volume_profile: VolumeProfile | None = None


class Anomaly(_Part, frozen=True):
    """A detected pattern."""

    type: Literal["spoofing", "iceberg", "flash_crash_risk"]
    severity: Severity
    note: str


class Health(_Part, frozen=True):
    """0 (unusable) to 100, and the named components that make it up."""

    score: float | None = None
    components: dict[str, float] = {}


class SlowProvenance(_Part, frozen=True):
    """Up to which event, and for which event time, liquidity and anomalies were computed."""

    offset: int
    as_of: str


HoleReason = Literal["state_lost", "state_unreadable", "other_log", "events_expired"]
"""Why events are missing: a snapshot that was written is gone; it is of another version of the software; the topic was
made again; the topic no longer has the events behind the snapshot."""


class Incomplete(_Part, frozen=True):
    """Events before `since` are missing from the windows of this report (`None`: of whatever comes next)."""

    reason: HoleReason
    since: str | None


class Provenance(_Part, frozen=True):
    """Enough to reproduce the report: read the topic up to `offset` and take the same as-of time."""

    partition: int
    offset: int
    book_update_id: int | None
    ts_event: str
    as_of: str
    slow: SlowProvenance
    gap_count: int
    book_ok: bool
    incomplete: Incomplete | None = None


class Report(_Part, frozen=True, kw_only=True):
    """One market report. Prices in quote units, quantities in base units, ages in milliseconds."""

    schemaVersion: str = SCHEMA_VERSION
    report_version: str = REPORT_VERSION
    symbol: str
    venue: str
    generated_at: str
    updatedAt: int
    writer: Writer
    data_age_ms: int
    ingestion: Ingestion
    last_price: float | None = None
    change_24h_pct: float | None = None
    high_24h: float | None = None
    low_24h: float | None = None
    volume_24h: float | None = None
    best_bid: Level | None = None
    best_ask: Level | None = None
    spread_bps: float | None = None
    mid_price: float | None = None
    micro_price: float | None = None
    depth: Depth
    flow: Flow
    liquidity: Liquidity
    anomalies: tuple[Anomaly, ...] | None = None
    health: Health
    provenance: Provenance


encode: Final = msgspec.json.Encoder().encode
