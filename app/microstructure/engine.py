"""The engine of one symbol: events in, in order of their offsets; a report out, at any time.

The engine is deterministic: the same events and the same as-of time give the same report, whatever the
batching, duplicates or restarts in between. Everything it knows leaves through `snapshot` and comes back
through `restore`; the snapshot names the offset it stands for, and events at or below it are skipped.
"""

import msgspec

from app.microstructure import rfc3339
from app.microstructure.book import BookChange, BookState, OrderBook
from app.microstructure.detectors import Detectors
from app.microstructure.event_clock import TOLERANCE, ClockState, EventClock, Step
from app.microstructure.events import (
    MAX_DEPTH_LEVELS,
    DeltasPayload,
    Event,
    OrderBookDeltas,
    OrderBookDepth,
    Ticker24h,
    TickerPayload,
    TradeTick,
)
from app.microstructure.metrics.depth import depth
from app.microstructure.metrics.flow import FlowState, TradeFlow
from app.microstructure.metrics.health import health
from app.microstructure.metrics.ingestion import ingestion_status
from app.microstructure.metrics.level1 import level1
from app.microstructure.metrics.quantity_history import LAST, QuantityHistory, QuantityState
from app.microstructure.metrics.vacuums import vacuums
from app.microstructure.metrics.volume_profile import ProfileParams, ProfileState, VolumeProfile
from app.microstructure.metrics.walls import walls
from app.microstructure.report import (
    Anomaly,
    Confidence,
    HoleReason,
    Incomplete,
    Ingestion,
    Liquidity,
    Provenance,
    Report,
    SlowProvenance,
    Stamp,
    Writer,
)

STATE_VERSION = 8
_NANOS_PER_MS = 1_000_000


class EngineParams(msgspec.Struct, frozen=True):
    """Windows and thresholds; equal for all symbols of a deployment."""

    flow_window_sec: int = 30
    degraded_after_ms: int = 1000
    down_after_ms: int = 10_000
    profile: ProfileParams = ProfileParams()


class SlowSections(msgspec.Struct, frozen=True):
    """The costly sections of a report, as of event time `as_of` and of the event at `offset`."""

    as_of: int
    offset: int
    liquidity: Liquidity
    anomalies: tuple[Anomaly, ...] | None


class Hole(msgspec.Struct, frozen=True, array_like=True):
    """Events that an engine has not seen: why, and the event time of the first that came after them, 0 before it."""

    reason: HoleReason
    since: int = 0


class StateError(ValueError):
    """A snapshot that this version cannot read."""


class EngineState(msgspec.Struct, frozen=True, array_like=True):
    """Everything an engine knows, as values."""

    version: int
    symbol: str
    venue: str
    offset: int
    ts_event: int
    last_trade_id: int
    last_trade_ts: int
    book: BookState
    flow: FlowState
    history: QuantityState
    profile: ProfileState
    detectors: bytes
    ticker: TickerPayload | None
    ticker_ts: int
    hole: Hole | None
    clock: ClockState


_encode_state = msgspec.msgpack.Encoder().encode
_decode_state = msgspec.msgpack.Decoder(EngineState).decode


class SymbolEngine:
    """State and metrics of one symbol.

    Attributes:
        offset: Kafka offset of the newest event applied, -1 before the first.
        ts_event: newest event time in nanoseconds, 0 before the first. It goes back where it was wrong (`event_clock`).
        repeated: trades and book updates that this object was given under new offsets and already had, by their ids.
        ids_begun_again: how often this object saw trade ids begin again at small ones.
    """

    def __init__(self, symbol: str, params: EngineParams) -> None:
        self.symbol = symbol
        self.offset = -1
        self.ts_event = 0
        self.repeated = self.ids_begun_again = 0
        self._params = params
        self._venue = ""
        self._last_trade_id, self._last_trade_ts = -1, 0
        self._book = OrderBook()
        self._flow = TradeFlow(params.flow_window_sec)
        self._history = QuantityHistory()
        self._profile = VolumeProfile(params.profile)
        self._detectors = Detectors(self._book, self._history.large)
        self._ticker: TickerPayload | None = None
        self._ticker_ts = 0
        self._hole: Hole | None = None
        self._clock = EventClock()

    @property
    def hole(self) -> Hole | None:
        """Which events are missing from what the engine knows, `None` if none are."""
        return self._hole

    def missed(self, reason: HoleReason) -> None:
        """Note that events before the next one are lost; reports say so while a window reaches back to them."""
        self._hole = Hole(reason)

    def renumber(self, offset: int) -> None:
        """Go on in another partition, in which everything up to `offset` is taken as known."""
        self.offset = offset

    @property
    def watched_ns(self) -> int:
        """How long the symbol is known, in event time up to its newest event."""
        since = self._flow.watched_since
        return 0 if since is None else self.ts_event - since

    @property
    def crossed_count(self) -> int:
        """How often the book was found crossed or locked."""
        return self._book.crossed_count

    def apply(self, event: Event, offset: int) -> bool:
        """Take `event` into account; return False if its offset shows that it already was."""
        if offset <= self.offset:
            return False
        ts_event = int(event.ts_event)
        if not self._venue or self._hole is not None:
            self._note_begin(event, ts_event)
        self.offset = offset
        newest = self.ts_event
        if self._clock.alert or not newest - TOLERANCE <= ts_event <= newest + TOLERANCE:
            self._out_of_step(event, ts_event)
        elif ts_event > newest:
            self.ts_event = ts_event
        match event:
            case OrderBookDeltas():
                self._deltas(event.payload, ts_event)
            case TradeTick():
                self._trade(event)
            case OrderBookDepth():
                self._follow(self._book.apply_depth(event.payload, ts_event))
            case Ticker24h():
                if ts_event >= self._ticker_ts:
                    self._ticker, self._ticker_ts = event.payload, ts_event
        self._detectors.tick(self.ts_event)
        return True

    def slow_sections(self, as_of: int) -> SlowSections:
        """Return liquidity and anomalies at event time `as_of`."""
        bids, asks = self._book.top(MAX_DEPTH_LEVELS)
        percentiles = self._history.percentiles()
        found_walls = found_vacuums = None
        if percentiles and (bids or asks):
            p95, p10 = percentiles
            found_walls, found_vacuums = walls(bids, asks, p95), vacuums(bids, asks, p10)
        liquidity = Liquidity(found_walls, found_vacuums, self._profile.value(as_of))
        return SlowSections(as_of, self.offset, liquidity, self._detectors.anomalies(as_of))

    def report(self, as_of: int, stamp: Stamp, slow: SlowSections | None = None) -> Report:
        """Return the report at event time `as_of` (ns, at or after `ts_event`), written by `stamp`.

        `slow` carries the sections of an earlier slow cycle; without it they are computed for `as_of`.
        """
        slow = slow or self.slow_sections(as_of)
        bids, asks = self._book.top(MAX_DEPTH_LEVELS)
        top, visible, flow = level1(bids, asks), depth(bids, asks), self._flow.value(as_of)
        ingestion = self._ingestion(as_of)
        ticker = self._ticker
        updated_ms = max(stamp.wall_ns, stamp.not_before_ns) // _NANOS_PER_MS
        return Report(
            symbol=self.symbol,
            venue=self._venue,
            generated_at=rfc3339.format_nanos(updated_ms * _NANOS_PER_MS),
            updatedAt=updated_ms,
            writer=Writer(nodeId=stamp.node_id, writerToken=stamp.writer_token),
            data_age_ms=max(0, stamp.wall_ns - self.ts_event) // _NANOS_PER_MS,
            ingestion=ingestion,
            last_price=ticker.last_price if ticker else None,
            change_24h_pct=ticker.change_24h_pct if ticker else None,
            high_24h=ticker.high_24h if ticker else None,
            low_24h=ticker.low_24h if ticker else None,
            volume_24h=ticker.volume_24h if ticker else None,
            best_bid=top.best_bid,
            best_ask=top.best_ask,
            spread_bps=top.spread_bps,
            mid_price=top.mid_price,
            micro_price=top.micro_price,
            depth=visible,
            flow=flow,
            liquidity=slow.liquidity,
            anomalies=slow.anomalies,
            health=health(top, visible, flow, self._history.large(), slow.anomalies, ingestion.status),
            provenance=self._provenance(stamp.partition, as_of, slow),
        )

    def state(self) -> EngineState:
        """Return everything the engine knows, as values."""
        return EngineState(
            STATE_VERSION,
            self.symbol,
            self._venue,
            self.offset,
            self.ts_event,
            self._last_trade_id,
            self._last_trade_ts,
            self._book.snapshot(),
            self._flow.snapshot(),
            self._history.snapshot(),
            self._profile.snapshot(),
            self._detectors.snapshot(),
            self._ticker,
            self._ticker_ts,
            self._hole,
            self._clock.snapshot(),
        )

    @classmethod
    def from_state(cls, state: EngineState, params: EngineParams) -> "SymbolEngine":
        """Return an engine that goes on exactly where `state` was taken."""
        engine = cls(state.symbol, params)
        engine.offset, engine.ts_event, engine._venue = state.offset, state.ts_event, state.venue
        engine._last_trade_id, engine._last_trade_ts = state.last_trade_id, state.last_trade_ts
        engine._book = OrderBook.restore(state.book)
        engine._flow = TradeFlow.restore(state.flow, params.flow_window_sec)
        engine._history = QuantityHistory.restore(state.history)
        engine._profile = VolumeProfile.restore(state.profile, params.profile)
        engine._detectors = Detectors.restore(state.detectors, engine._book, engine._history.large)
        engine._ticker, engine._ticker_ts, engine._hole = state.ticker, state.ticker_ts, state.hole
        engine._clock = EventClock.restore(state.clock)
        engine._hold()
        return engine

    def snapshot(self) -> bytes:
        """Return everything the engine knows, as bytes: equal for equal states."""
        return _encode_state(self.state())

    @classmethod
    def restore(cls, snapshot: bytes, params: EngineParams) -> "SymbolEngine":
        """Return an engine that goes on exactly where `snapshot` was taken.

        Raises:
            StateError: the bytes are damaged or of another version.
        """
        try:
            state = _decode_state(snapshot)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise StateError(f"engine snapshot cannot be read: {error}") from None
        if state.version != STATE_VERSION:
            raise StateError(f"engine snapshot has version {state.version}, this is version {STATE_VERSION}")
        try:
            return cls.from_state(state, params)
        except ValueError as error:
            raise StateError(f"engine snapshot does not fit together: {error}") from None

    def _note_begin(self, event: Event, ts_event: int) -> None:
        """Note since when events are known, and since when again."""
        if not self._venue:
            self._venue = event.venue
            self._flow.watched_since = ts_event
        if self._hole is not None and not self._hole.since:
            self._hole = Hole(self._hole.reason, ts_event)

    def _out_of_step(self, event: Event, ts_event: int) -> None:
        """Let the clock judge an event whose time is far from the newest, or that comes after one."""
        step = self._clock.see(ts_event, self.ts_event, new=self._is_new(event))
        if step is Step.WENT_BACK or step is Step.RESET:
            self._go_back(self._clock.latest, reset=step is Step.RESET)
        else:
            self.ts_event = max(self.ts_event, ts_event)
        if step is not Step.NOTHING:
            self._hold()

    def _is_new(self, event: Event) -> bool:
        """Whether the ids of `event` prove that it was not seen before; tickers have none."""
        match event:
            case TradeTick():
                return event.payload.trade_id > self._last_trade_id
            case OrderBookDeltas():
                return not event.payload.snapshot and not self._book.has_deltas(event.payload)
            case OrderBookDepth():
                return not self._book.has_depth(event.payload)
            case _:
                return False

    def _hold(self) -> None:
        """Let windows keep what they held before a leap of the clock that is in doubt, and no longer."""
        held = self._clock.held
        self._flow.hold(held)
        self._profile.hold(held)
        self._detectors.hold(held)

    def _go_back(self, to: int, *, reset: bool) -> None:
        """Set the clock back to `to`; what was stamped later has happened by then.

        Where it was wrong for long (`reset`), times before and after cannot be compared: short windows begin again.
        """
        self.ts_event = to
        self._last_trade_ts, self._ticker_ts = min(self._last_trade_ts, to), min(self._ticker_ts, to)
        if self._hole is not None and self._hole.since > to:
            self._hole = Hole(self._hole.reason, to)
        self._profile.rewind(to)
        if reset:
            self._flow = TradeFlow(self._params.flow_window_sec)
            self._flow.watched_since = to
            self._detectors = Detectors(self._book, self._history.large)
        else:
            self._flow.rewind(to)
            self._detectors.rewind(to)

    def _trade(self, trade: TradeTick) -> None:
        trade_id, ts_event = trade.payload.trade_id, int(trade.ts_event)
        if trade_id <= self._last_trade_id:
            leapt_from, leapt_to = self._clock.wrong
            if ts_event <= self._last_trade_ts or leapt_from <= ts_event <= leapt_to:
                self.repeated += 1
                return
            # Newer, but with an id from before: the venue counts from the beginning, or one wrong id had run ahead.
            self.ids_begun_again += 1
            self._detectors = Detectors(self._book, self._history.large)
        self._last_trade_id, self._last_trade_ts = trade_id, max(ts_event, self._last_trade_ts)
        self._flow.update(trade)
        self._profile.update(trade)
        self._detectors.trade(trade)

    def _deltas(self, deltas: DeltasPayload, ts_event: int) -> None:
        change = self._book.apply_deltas(deltas, ts_event)
        if change is not None:
            self._follow(change)
        elif self._book.has_deltas(deltas):
            self.repeated += 1

    def _follow(self, change: BookChange | None) -> None:
        if change is not None:
            self._history.update(change)
            self._detectors.change(change)

    def _ingestion(self, as_of: int) -> Ingestion:
        age_ms = max(0, as_of - self.ts_event) // _NANOS_PER_MS
        since = self._flow.watched_since
        watched_sec = 0 if since is None else max(0, as_of - since) // rfc3339.NANOS_PER_SECOND
        return Ingestion(
            status=ingestion_status(age_ms, self._params.degraded_after_ms, self._params.down_after_ms),
            last_event_age_ms=age_ms,
            watched_sec=watched_sec,
            confidence=Confidence(
                flow=min(1.0, watched_sec / self._params.flow_window_sec),
                quantity_history=min(1.0, len(self._history) / LAST),
                volume_profile=min(1.0, watched_sec / self._params.profile.window_sec),
            ),
        )

    def _provenance(self, partition: int, as_of: int, slow: SlowSections) -> Provenance:
        return Provenance(
            partition=partition,
            offset=self.offset,
            book_update_id=self._book.update_id,
            ts_event=rfc3339.format_nanos(self.ts_event),
            as_of=rfc3339.format_nanos(as_of),
            slow=SlowProvenance(slow.offset, rfc3339.format_nanos(slow.as_of)),
            gap_count=self._book.gap_count,
            book_ok=self._book.ok,
            incomplete=self._incomplete(as_of),
        )

    def _incomplete(self, as_of: int) -> Incomplete | None:
        hole = self._hole
        if hole is None or (
            hole.since and as_of - hole.since > self._params.profile.window_sec * rfc3339.NANOS_PER_SECOND
        ):
            return None  # no window reaches back to it any more
        return Incomplete(hole.reason, rfc3339.format_nanos(hole.since) if hole.since else None)
