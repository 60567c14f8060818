"""Iceberg: a price that is filled again and again while the quantity visible there hardly moves.

A finding needs 5 fills at one price, and the visible quantity within ± 10 % of what it was before the first.

The book is seen between fills only, so all that trades at the price between two book events is one fill, and so is
all that trades until a level that was seen short is in its band again: it was put back once. A fill counts from
`min_fill` of the visible quantity: twice the band. Less than that the band could hide, and many small trades against a
large level prove nothing; more must have been put back.

Trades and book events come apart: a trade arrives before or after the book event that holds it. So

- a fill counts from the first book event `confirm_ms` after it, if the level stands in its band then: a sweep that
  takes the level away proves nothing;
- a trade older than the book event in which the visible quantity was read is no fill: it hit an earlier level.

Between two refreshes the level may be seen short, or not at all, for up to `dip_ms`. Longer, or a level that grows
out of its band, ends the run, and so do `idle_sec` without a trade. Where the best price goes does not matter. When
the book is given up or restarted, runs start over; findings made before stay for their time.
"""

from collections.abc import Callable
from typing import Final, Literal

import msgspec

from app.microstructure.book import BookChange, LevelChange
from app.microstructure.events import TradeTick
from app.microstructure.report import Anomaly, Severity
from app.microstructure.rfc3339 import NANOS_PER_SECOND

MIN_FILLS: Final = 5
BAND: Final = 0.1
MAX_PRICES: Final = 128  # a side; the one unfilled for longest is dropped first
MAX_FINDINGS: Final = 8  # a side; the oldest is dropped first, and a report stays small
_UNITS: Final = 100_000_000
_NANOS_PER_MS: Final = 1_000_000

BookSide = Literal["bid", "ask"]
Visible = Callable[[BookSide, float], float]
"""Quantity of a level in the book as it is now, 0 if there is none."""


class IcebergParams(msgspec.Struct, frozen=True):
    """What is a refreshed level; docs/metrics.md gives the reasons."""

    min_fill: float = 0.2
    dip_ms: int = 250
    confirm_ms: int = 100
    idle_sec: int = 30
    hold_sec: int = 30
    medium_fills: int = 8
    medium_multiple: float = 3.0
    high_fills: int = 15
    high_multiple: float = 6.0


class Burst(msgspec.Struct, array_like=True):
    """One fill at a price, begun after the book event at `since`; `newest` is the last trade's time."""

    since: int
    newest: int
    units: int


class Run(msgspec.Struct, array_like=True):
    """Fills at one price. `visible` was read at book time `since`; `dip` is when the level fell short, or 0.

    Quantities in 10⁻⁸ units; `waiting` is what traded and is not confirmed yet.
    """

    price: float
    visible: int
    since: int
    last_fill: int
    fills: int = 0
    traded: int = 0
    dip: int = 0
    waiting: list[Burst] = []


class Finding(msgspec.Struct, frozen=True, array_like=True):
    """An iceberg, as of its newest confirmed fill."""

    price: float
    at: int
    fills: int
    traded: int
    visible: int


class SideState(msgspec.Struct, frozen=True, array_like=True):
    """One side: runs by time of the newest fill, prices to look at again, findings by price."""

    runs: list[Run]
    open: list[float]
    findings: list[Finding]


class IcebergState(msgspec.Struct, frozen=True, array_like=True):
    """Everything the detector knows: bids, then asks."""

    now: int
    sides: tuple[SideState, SideState]


class _Side:
    """The runs and findings of one side."""

    def __init__(self, name: BookSide, params: IcebergParams) -> None:
        self.name: BookSide = name
        self._params = params
        self._dip, self._lag = params.dip_ms * _NANOS_PER_MS, params.confirm_ms * _NANOS_PER_MS
        self._idle, self._hold = params.idle_sec * NANOS_PER_SECOND, params.hold_sec * NANOS_PER_SECOND
        self.runs: dict[float, Run] = {}
        self.open: dict[float, Run] = {}  # those with a fill that waits and the level in its band
        self.dips: dict[float, Run] = {}  # those whose level is short, longest first
        self.findings: dict[float, Finding] = {}

    def fill(self, price: float, qty: float, time: int, now: int, visible: Visible) -> None:
        """Take a trade into account; only the first at a price asks for the visible quantity."""
        run = self.runs.get(price)
        if run is None or now - run.last_fill > self._idle:
            run = self._start(price, now, visible)
        if run is None or time < run.since:
            return
        if run.last_fill < now:
            run.last_fill = now
            self.runs[price] = self.runs.pop(price)  # last again: runs are in the order of their newest fills
        newest, units = int(time), round(qty * _UNITS)
        if run.waiting and (run.waiting[-1].since == now or run.dip):
            burst = run.waiting[-1]
            burst.newest, burst.units = max(burst.newest, newest), burst.units + units
        else:
            run.waiting.append(Burst(now, newest, units))
        if not run.dip:
            self.open[price] = run

    def change(self, changes: list[LevelChange], now: int) -> None:
        """Look at the changed levels that have runs, then at the runs that wait for this book event."""
        runs = self.runs
        if not runs:
            return
        while self.dips and now - (longest := next(iter(self.dips.values()))).dip > self._dip:
            self._end(longest.price)
        for level in changes:
            if level[0] in runs:  # not unpacked: nearly all are elsewhere
                self._seen(runs[level[0]], round(level[2] * _UNITS), now)
        if self.open:
            for run in list(self.open.values()):
                self._confirm(run, now)

    def start_over(self) -> None:
        for runs in (self.runs, self.open, self.dips):
            runs.clear()

    def rewind(self, to: int) -> None:
        for run in self.runs.values():
            run.since, run.last_fill, run.dip = min(run.since, to), min(run.last_fill, to), min(run.dip, to)
            for burst in run.waiting:
                burst.since, burst.newest = min(burst.since, to), min(burst.newest, to)
        copy = msgspec.structs.replace
        self.findings = {price: copy(found, at=min(found.at, to)) for price, found in self.findings.items()}

    def anomalies(self, as_of: int) -> list[Anomaly]:
        active = [finding for finding in self.findings.values() if as_of < finding.at + self._hold]
        return [self._anomaly(finding) for finding in sorted(active, key=lambda finding: finding.price)]

    def _start(self, price: float, now: int, visible: Visible) -> Run | None:
        runs = self.runs
        if price in runs:
            self._end(price)
        while runs and ((oldest := next(iter(runs.values()))).last_fill + self._idle < now or len(runs) == MAX_PRICES):
            self._end(oldest.price)
        quantity = round(visible(self.name, price) * _UNITS)
        if not quantity:
            return None
        runs[price] = run = Run(price, quantity, now, now)
        return run

    def _seen(self, run: Run, units: int, now: int) -> None:
        """Take the visible quantity of a run's level into account."""
        if abs(units - run.visible) <= BAND * run.visible:
            if run.dip:
                run.dip = 0
                del self.dips[run.price]
                if run.waiting:
                    self.open[run.price] = run
        elif units > run.visible:
            self._end(run.price)
        elif not run.dip:
            run.dip = now
            self.dips[run.price] = run
            self.open.pop(run.price, None)

    def _confirm(self, run: Run, now: int) -> None:
        """Count the fills that this book event confirms: its level is in the band."""
        due = [burst for burst in run.waiting if burst.newest + self._lag <= now]
        if due:
            run.waiting = [burst for burst in run.waiting if burst.newest + self._lag > now]
            fills = [burst.units for burst in due if burst.units >= self._params.min_fill * run.visible]
            run.fills += len(fills)
            run.traded += sum(fills)
            if fills and run.fills >= MIN_FILLS:
                self._find(run, now)
        if not run.waiting:
            del self.open[run.price]

    def _find(self, run: Run, now: int) -> None:
        findings = self.findings
        findings.pop(run.price, None)
        findings[run.price] = Finding(run.price, now, run.fills, run.traded, run.visible)
        while (oldest := next(iter(findings.values()))).at + self._hold <= now or len(findings) > MAX_FINDINGS:
            del findings[oldest.price]

    def _end(self, price: float) -> None:
        del self.runs[price]
        self.open.pop(price, None)
        self.dips.pop(price, None)

    def _anomaly(self, finding: Finding) -> Anomaly:
        multiple = finding.traded / finding.visible
        note = (
            f"{self.name} {_plain(finding.price)}: {finding.fills} fills took {_plain(finding.traded / _UNITS)} "
            f"while {_plain(finding.visible / _UNITS)} stayed visible ({multiple:.1f} x)"
        )
        return Anomaly("iceberg", self._severity(finding.fills, multiple), note)

    def _severity(self, fills: int, multiple: float) -> Severity:
        params = self._params
        if fills >= params.high_fills and multiple >= params.high_multiple:
            return "high"
        return "medium" if fills >= params.medium_fills and multiple >= params.medium_multiple else "low"

    def pack(self) -> SideState:
        copy = msgspec.structs.replace
        return SideState(
            [copy(run, waiting=[copy(burst) for burst in run.waiting]) for run in self.runs.values()],
            list(self.open),
            list(self.findings.values()),
        )

    def unpack(self, state: SideState) -> None:
        copy = msgspec.structs.replace
        self.runs = {run.price: copy(run, waiting=[copy(burst) for burst in run.waiting]) for run in state.runs}
        self.open = {price: self.runs[price] for price in state.open}
        dips = sorted((run for run in self.runs.values() if run.dip), key=lambda run: run.dip)
        self.dips = {run.price: run for run in dips}
        self.findings = {finding.price: finding for finding in state.findings}


class Iceberg:
    """Icebergs in one symbol, found from its trades and book changes.

    `visible` tells the quantity of a level in the book as of the newest book event.
    """

    def __init__(self, visible: Visible, params: IcebergParams | None = None) -> None:
        params = params or IcebergParams()
        self._visible = visible
        self._now = 0
        self._bids, self._asks = _Side("bid", params), _Side("ask", params)

    def update(self, observation: TradeTick | BookChange) -> None:
        """Take a trade, or a change of the book, into account."""
        if type(observation) is TradeTick:
            payload = observation.payload
            side = self._bids if payload.aggressor_side == "sell" else self._asks
            side.fill(payload.price, payload.qty, observation.ts_event, self._now, self._visible)
        elif type(observation) is BookChange:
            now = self._now
            if observation.ts_event > now:
                self._now = now = observation.ts_event
            if observation.restarted or not observation.known:
                self._bids.start_over()
                self._asks.start_over()
            else:
                self._bids.change(observation.bids, now)
                self._asks.change(observation.asks, now)

    def value(self, as_of: int) -> tuple[Anomaly, ...]:
        """Return the findings whose newest confirmed fill is less than `hold_sec` old."""
        return (*self._bids.anomalies(as_of), *self._asks.anomalies(as_of))

    def rewind(self, to: int) -> None:
        """Let what was stamped later than `to` have happened at `to`: that time was wrong."""
        self._now = min(self._now, to)
        self._bids.rewind(to)
        self._asks.rewind(to)

    def snapshot(self) -> IcebergState:
        """Return the whole state."""
        return IcebergState(self._now, (self._bids.pack(), self._asks.pack()))

    @classmethod
    def restore(cls, state: IcebergState, visible: Visible, params: IcebergParams | None = None) -> "Iceberg":
        """Return a detector that goes on exactly where `state` was taken."""
        detector = cls(visible, params)
        detector._now = state.now
        for side, packed in zip((detector._bids, detector._asks), state.sides, strict=True):
            side.unpack(packed)
        return detector


def _plain(number: float) -> str:
    """Write a price or a quantity as the venue does: at most 8 decimals, never an exponent."""
    return f"{number:.8f}".rstrip("0").rstrip(".")
