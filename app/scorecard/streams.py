"""The markets that patterns are injected into: the synthetic one, and a recorded tape.

Both become what the producer would have published: one snapshot, then trades and diffs in the order of their
arrival. On a tape the snapshot comes after the first diffs; the producer's own rule joins them.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from app.microstructure.events import DeltasPayload, Level, Nanos, OrderBookDeltas, Side, TradePayload, TradeTick
from producer.book_sync import Apply, BookSync, Replace, Step
from producer.exchange.messages import DepthSnapshot, DepthUpdate, TextLevel, Trade
from producer.exchange.sim import SimMarket
from producer.exchange.survey import survey
from producer.exchange.symbols import SymbolInfo, listing
from producer.exchange.tape import Payload, TapeError, read_tape
from producer.exchange.units import ONE

MarketEvent = TradeTick | OrderBookDeltas

_VENUE: Final = "BINANCE"
_START_NS: Final = 1_700_000_000_000_000_000
_NS_PER_MS: Final = 1_000_000
_SNAPSHOT_LEVELS: Final = 5000

_decode_trade: Final = msgspec.json.Decoder(Trade).decode
_decode_update: Final = msgspec.json.Decoder(DepthUpdate).decode


class Stream(msgspec.Struct, frozen=True):
    """A market's events of one symbol, a snapshot first; `tick` and `step` are its price and quantity grid."""

    symbol: str
    tick: float
    step: float
    events: list[MarketEvent]

    @property
    def start(self) -> int:
        """Event time (ns) of the first event."""
        return int(self.events[0].ts_event)

    @property
    def end(self) -> int:
        """Newest event time (ns)."""
        return max(int(event.ts_event) for event in self.events[-100:])


def simulated(symbol: str, *, seed: int, rate: float, seconds: float) -> Stream:
    """Return `seconds` of the synthetic market, which has about `rate` events a second."""
    market = SimMarket([symbol], seed=seed, rate=rate, start_ns=_START_NS)
    snapshot = DepthSnapshot.of(market.depth(symbol, _SNAPSHOT_LEVELS))
    trades, diffs = f"{symbol.lower()}@trade", f"{symbol.lower()}@depth@100ms"
    events: list[MarketEvent] = [_snapshot_event(symbol, snapshot, _START_NS)]
    for message in market.advance(_START_NS + int(seconds * 1e9), {trades, diffs}):
        if message.stream == trades:
            events.append(_trade_event(_decode_trade(message.payload)))
        else:
            events.append(_diff_event(_decode_update(message.payload)))
    return _stream(listing(symbol).info, events)


def recorded(paths: Sequence[Path]) -> Stream:
    """Return a tape of one symbol, from its snapshot on.

    Raises:
        TapeError: the tape is damaged, holds several symbols or has a gap.
    """
    symbols = survey(read_tape(paths)).symbols
    if len(symbols) != 1:
        raise TapeError(f"{paths[0]}: a scorecard takes a tape of one symbol, this one has {', '.join(symbols)}")
    (found,) = symbols.values()
    events = list(_joined(record.payload for record in read_tape(paths)))
    snapshots = sum(type(event) is OrderBookDeltas and event.payload.snapshot for event in events)
    if snapshots != 1:
        raise TapeError(f"{paths[0]}: a scorecard takes a tape without gaps, this one begins anew {snapshots} times")
    return _stream(found.info, events)


def _joined(payloads: Iterable[Payload | None]) -> Iterator[MarketEvent]:
    sync: BookSync[DepthUpdate, DepthSnapshot] = BookSync()
    sync.lose("start")
    for payload in payloads:
        if isinstance(payload, DepthUpdate):
            yield from _book_events(payload.symbol, sync.on_diff(payload))
        elif isinstance(payload, DepthSnapshot):
            steps = sync.on_snapshot(payload)
            followed = [step.diff for step in steps if isinstance(step, Apply)]
            if followed:
                yield from _book_events(followed[0].symbol, steps)
        elif isinstance(payload, Trade) and sync.update_id is not None:
            yield _trade_event(payload)


def _book_events(symbol: str, steps: Iterable[Step[DepthUpdate, DepthSnapshot]]) -> Iterator[MarketEvent]:
    for step in steps:
        if isinstance(step, Apply):
            yield _diff_event(step.diff)
        elif isinstance(step, Replace) and step.continued_by is not None:
            yield _snapshot_event(symbol, step.snapshot, step.continued_by.event_time * _NS_PER_MS)


def _stream(info: SymbolInfo, events: list[MarketEvent]) -> Stream:
    return Stream(info.symbol, info.tick / ONE, info.step / ONE, events)


def _levels(levels: list[TextLevel]) -> list[Level]:
    return [(float(price), float(qty)) for price, qty in levels]


def _snapshot_event(symbol: str, snapshot: DepthSnapshot, ts_event: int) -> OrderBookDeltas:
    update_id = snapshot.last_update_id
    payload = DeltasPayload(update_id, update_id, True, _levels(snapshot.bids), _levels(snapshot.asks))
    return OrderBookDeltas(symbol=symbol, venue=_VENUE, ts_event=Nanos(ts_event), payload=payload)


def _diff_event(update: DepthUpdate) -> OrderBookDeltas:
    payload = DeltasPayload(
        update.first_update_id, update.final_update_id, False, _levels(update.bids), _levels(update.asks)
    )
    ts_event = Nanos(update.event_time * _NS_PER_MS)
    return OrderBookDeltas(symbol=update.symbol, venue=_VENUE, ts_event=ts_event, payload=payload)


def _trade_event(trade: Trade) -> TradeTick:
    side: Side = "sell" if trade.buyer_is_maker else "buy"
    payload = TradePayload(float(trade.price), float(trade.quantity), side, trade.trade_id)
    ts_event = Nanos(trade.trade_time * _NS_PER_MS)
    return TradeTick(symbol=trade.symbol, venue=_VENUE, ts_event=ts_event, payload=payload)
