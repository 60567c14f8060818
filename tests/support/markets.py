"""Made markets: event builders, and Hypothesis strategies for streams that a venue could have sent."""

from collections.abc import Iterable, Sequence
from itertools import count

from hypothesis import strategies as st

from app.microstructure.events import (
    DeltasPayload,
    DepthPayload,
    Event,
    Nanos,
    OrderBookDeltas,
    OrderBookDepth,
    Side,
    Ticker24h,
    TickerPayload,
    TradePayload,
    TradeTick,
)

SECOND = 1_000_000_000
START = 1_723_161_255 * SECOND

Levels = Sequence[tuple[float, float]]


def trade(
    trade_id: int,
    price: float = 100.0,
    qty: float = 1.0,
    side: Side = "buy",
    at: int = START,
    symbol: str = "BTCUSDT",
) -> TradeTick:
    payload = TradePayload(price, qty, side, trade_id)
    return TradeTick(symbol=symbol, venue="BINANCE", ts_event=Nanos(at), payload=payload)


def deltas(
    first: int,
    final: int,
    bids: Levels = (),
    asks: Levels = (),
    *,
    snapshot: bool = False,
    at: int = START,
    symbol: str = "BTCUSDT",
) -> OrderBookDeltas:
    payload = DeltasPayload(first, final, snapshot, list(bids), list(asks))
    return OrderBookDeltas(symbol=symbol, venue="BINANCE", ts_event=Nanos(at), payload=payload)


def snapshot(update_id: int, bids: Levels, asks: Levels, at: int = START, symbol: str = "BTCUSDT") -> OrderBookDeltas:
    return deltas(update_id, update_id, bids, asks, snapshot=True, at=at, symbol=symbol)


def depth(update_id: int, bids: Levels, asks: Levels, at: int = START, symbol: str = "BTCUSDT") -> OrderBookDepth:
    payload = DepthPayload(update_id, list(bids), list(asks))
    return OrderBookDepth(symbol=symbol, venue="BINANCE", ts_event=Nanos(at), payload=payload)


def ticker(last: float = 100.0, at: int = START, symbol: str = "BTCUSDT") -> Ticker24h:
    payload = TickerPayload(last, -1.5, last + 5, last - 5, 1234.5)
    return Ticker24h(symbol=symbol, venue="BINANCE", ts_event=Nanos(at), payload=payload)


_QTY = st.integers(1, 500_000_000).map(lambda units: units / 1e8)
_OFFSETS = st.lists(st.integers(1, 40), min_size=0, max_size=6, unique=True)


@st.composite
def levels(draw: st.DrawFn, mid: int, side: int, *, removing: bool) -> list[tuple[float, float]]:
    """Levels on one side of `mid` on a grid of 0.01; quantity 0 removes one."""
    quantities = st.one_of(st.just(0.0), _QTY) if removing else _QTY
    return [((mid + side * offset) / 100, draw(quantities)) for offset in draw(_OFFSETS)]


@st.composite
def streams(draw: st.DrawFn, max_size: int = 40) -> list[Event]:
    """A stream of one symbol with contiguous update ids that never crosses, and times that never go back."""
    mid = draw(st.integers(10_000, 20_000))
    bids = draw(levels(mid, -1, removing=False))
    asks = draw(levels(mid, +1, removing=False))
    update_id, now = 1000, START
    events: list[Event] = [snapshot(update_id, bids, asks, at=now)]
    trade_ids = count(1)
    for kind in draw(st.lists(st.sampled_from("ddddtttkp"), max_size=max_size)):
        now += draw(st.integers(0, 4000)) * 1_000_000
        if kind == "d":
            first, update_id = update_id + 1, update_id + draw(st.integers(1, 9))
            changed_bids = draw(levels(mid, -1, removing=True))
            changed_asks = draw(levels(mid, +1, removing=True))
            events.append(deltas(first, update_id, changed_bids, changed_asks, at=now))
        elif kind == "t":
            price = (mid + draw(st.integers(-40, 40))) / 100
            side: Side = draw(st.sampled_from(("buy", "sell")))
            events.append(trade(next(trade_ids), price, draw(_QTY), side, at=now))
        elif kind == "k":
            events.append(ticker(mid / 100, at=now))
        else:
            events.append(snapshot(update_id, bids, asks, at=now))
    return events


def numbered(events: Iterable[Event]) -> list[tuple[int, Event]]:
    """Return events with rising offsets."""
    return list(enumerate(events))
