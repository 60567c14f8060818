"""The engine of one symbol: events in, in order of their offsets; a report out, at any time.

The engine is deterministic: the same events and the same as-of time give the same report, whatever the
batching, duplicates or restarts in between. Everything it knows leaves through `snapshot` and comes back
through `restore`; the snapshot names the offset it stands for, and events at or below it are skipped.
"""

import msgspec

from app.microstructure import rfc3339
from app.microstructure.book import BookState, OrderBook
from app.microstructure.events import (
    MAX_DEPTH_LEVELS,
    Event,
    OrderBookDeltas,
    OrderBookDepth,
    Ticker24h,
    TickerPayload,
    TradeTick,
)
from app.microstructure.metrics.depth import depth
from app.microstructure.metrics.flow import FlowState, TradeFlow
from app.microstructure.metrics.ingestion import ingestion
from app.microstructure.metrics.level1 import level1
from app.microstructure.report import Health, Liquidity, Provenance, Report, Stamp, Writer

STATE_VERSION = 1
_NANOS_PER_MS = 1_000_000


class EngineParams(msgspec.Struct, frozen=True):
    """Windows and thresholds; equal for all symbols of a deployment."""

    flow_window_sec: int = 30
    degraded_after_ms: int = 1000
    down_after_ms: int = 10_000


class StateError(ValueError):
    """A snapshot that this version cannot read."""


class EngineState(msgspec.Struct, frozen=True, array_like=True):
    """Everything an engine knows, as values."""

    version: int
    symbol: str
    venue: str
    offset: int
    ts_event: int
    book: BookState
    flow: FlowState
    ticker: TickerPayload | None
    ticker_ts: int


_encode_state = msgspec.msgpack.Encoder().encode
_decode_state = msgspec.msgpack.Decoder(EngineState).decode


class SymbolEngine:
    """State and metrics of one symbol.

    Attributes:
        offset: Kafka offset of the newest event applied, -1 before the first.
        ts_event: newest event time in nanoseconds, 0 before the first.
    """

    def __init__(self, symbol: str, params: EngineParams) -> None:
        self.symbol = symbol
        self.offset = -1
        self.ts_event = 0
        self._params = params
        self._venue = ""
        self._book = OrderBook()
        self._flow = TradeFlow(params.flow_window_sec)
        self._ticker: TickerPayload | None = None
        self._ticker_ts = 0

    @property
    def crossed_count(self) -> int:
        """How often the book was found crossed or locked."""
        return self._book.crossed_count

    def apply(self, event: Event, offset: int) -> bool:
        """Take `event` into account; return False if its offset shows that it already was."""
        if offset <= self.offset:
            return False
        if self.offset < 0:
            self._venue = event.venue
            self._flow.watched_since = int(event.ts_event)
        self.offset = offset
        ts_event = int(event.ts_event)
        self.ts_event = max(self.ts_event, ts_event)
        match event:
            case OrderBookDeltas():
                self._book.apply_deltas(event.payload, ts_event)
            case TradeTick():
                self._flow.update(event)
            case OrderBookDepth():
                self._book.apply_depth(event.payload, ts_event)
            case Ticker24h():
                if ts_event >= self._ticker_ts:
                    self._ticker, self._ticker_ts = event.payload, ts_event
        return True

    def report(self, as_of: int, stamp: Stamp) -> Report:
        """Return the report at event time `as_of` (ns, at or after `ts_event`), written by `stamp`."""
        bids, asks = self._book.top(MAX_DEPTH_LEVELS)
        top = level1(bids, asks)
        ticker = self._ticker
        age_ms = max(0, as_of - self.ts_event) // _NANOS_PER_MS
        return Report(
            symbol=self.symbol,
            venue=self._venue,
            generated_at=rfc3339.format_nanos(stamp.wall_ns // _NANOS_PER_MS * _NANOS_PER_MS),
            updatedAt=stamp.wall_ns // _NANOS_PER_MS,
            writer=Writer(nodeId=stamp.node_id, writerToken=stamp.writer_token),
            data_age_ms=max(0, stamp.wall_ns - self.ts_event) // _NANOS_PER_MS,
            ingestion=ingestion(age_ms, self._params.degraded_after_ms, self._params.down_after_ms),
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
            depth=depth(bids, asks),
            flow=self._flow.value(as_of),
            liquidity=Liquidity(),
            anomalies=None,
            health=Health(),
            provenance=self._provenance(stamp.partition),
        )

    def snapshot(self) -> bytes:
        """Return everything the engine knows, as bytes."""
        return _encode_state(
            EngineState(
                STATE_VERSION,
                self.symbol,
                self._venue,
                self.offset,
                self.ts_event,
                self._book.snapshot(),
                self._flow.snapshot(),
                self._ticker,
                self._ticker_ts,
            )
        )

    @classmethod
    def restore(cls, snapshot: bytes, params: EngineParams) -> "SymbolEngine":
        """Return an engine that goes on exactly where `snapshot` was taken.

        Raises:
            StateError: the bytes are damaged or of another version.
        """
        try:
            state = _decode_state(snapshot)
        except msgspec.DecodeError as error:
            raise StateError(f"engine snapshot cannot be read: {error}") from None
        if state.version != STATE_VERSION:
            raise StateError(f"engine snapshot has version {state.version}, this is version {STATE_VERSION}")
        engine = cls(state.symbol, params)
        engine.offset, engine.ts_event = state.offset, state.ts_event
        engine._venue = state.venue
        engine._book = OrderBook.restore(state.book)
        engine._flow = TradeFlow.restore(state.flow, params.flow_window_sec)
        engine._ticker, engine._ticker_ts = state.ticker, state.ticker_ts
        return engine

    def _provenance(self, partition: int) -> Provenance:
        return Provenance(
            partition=partition,
            offset=self.offset,
            book_update_id=self._book.update_id,
            ts_event=rfc3339.format_nanos(self.ts_event),
            gap_count=self._book.gap_count,
            book_ok=self._book.ok,
        )
