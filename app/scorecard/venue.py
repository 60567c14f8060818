"""A venue where the base market and orders of ours meet: base events in, the events of the joint market out.

Injecting at the level of events keeps the stream what a venue could have sent. Our changes of the book leave
with the base market's next diff, as a venue would fold them into its 100 ms; so update ids stay as they were
and stay contiguous. Our trades come between two diffs, and every trade is numbered anew. A base trade that
would have met our better order trades with it.

The published book is rebuilt here by the product's own `OrderBook`: if an injection crossed it or broke its
sequence, `InvalidStreamError` says so at once.
"""

from collections import deque
from statistics import median
from typing import Final

import numpy as np

from app.microstructure.book import OrderBook
from app.microstructure.events import (
    MAX_DEPTH_LEVELS,
    DeltasPayload,
    Level,
    Nanos,
    OrderBookDeltas,
    TradePayload,
    TradeTick,
)
from app.microstructure.events import Side as Aggressor
from app.scorecard.half import DECIMALS, Half
from app.scorecard.streams import MarketEvent, Stream
from producer.exchange.book import Side

HISTORY: Final = 10_000
_NS_PER_MS: Final = 1_000_000
_NS_PER_SECOND: Final = 1_000_000_000
_VISIBLE: Final = 50
_USUAL_SEC: Final = 300


class InvalidStreamError(RuntimeError):
    """An injection made a stream that no venue would send: a defect of the script."""


class Venue:
    """The joint market of one symbol. Scripts act on it before each diff; `now` is that diff's event time.

    Attributes:
        now: event time (ns) of the diff that is being made.
        tick: price grid.
        trade_qty: mean quantity of the base market's trades so far.
        volume_per_sec: traded base quantity a second so far.
    """

    def __init__(self, stream: Stream) -> None:
        first = stream.events[0]
        if not isinstance(first, OrderBookDeltas) or not first.payload.snapshot:
            raise ValueError(f"{stream.symbol}: the stream does not begin with a snapshot")
        self.tick: Final = stream.tick
        self.step: Final = stream.step
        self.now = self._start = int(first.ts_event)
        self.bids: Final = Half(Side.BID, first.payload.bids, stream.step)
        self.asks: Final = Half(Side.ASK, first.payload.asks, stream.step)
        self._book = OrderBook()
        self._book.apply_deltas(first.payload, self.now)
        self._quantities = deque((qty for _, qty in first.payload.bids + first.payload.asks), maxlen=HISTORY)
        self._seconds = deque[tuple[float, float, float]](maxlen=_USUAL_SEC)  # spread, depth of bids and of asks
        self._next_look = self.now
        self._look()
        self._newest = self.now
        self._trade_id = next((event.payload.trade_id for event in stream.events if type(event) is TradeTick), 1) - 1
        self._base_trades, self._base_volume = 0, 0.0
        self._pending: list[TradePayload] = []
        self._taken: dict[float, float] = {}
        self._symbol, self._venue = first.symbol, first.venue

    @property
    def usual_spread(self) -> float:
        """Median spread of the last minutes, as a share of the price."""
        return median(spread for spread, _, _ in self._seconds)

    def usual_depth(self, side: Side) -> float:
        """Return the median, over the last minutes, of what the best 20 levels of a side hold."""
        return median(bids if side is Side.BID else asks for _, bids, asks in self._seconds)

    @property
    def trade_qty(self) -> float:
        """Mean quantity of the base market's trades so far."""
        return max(self.step, self._base_volume / max(1, self._base_trades))

    @property
    def volume_per_sec(self) -> float:
        """Quantity that the base market trades a second."""
        return self._base_volume * 1e9 / max(1, self.now - self._start)

    def half(self, side: Side) -> Half:
        """Return one side."""
        return self.bids if side is Side.BID else self.asks

    def touch(self, side: Side) -> float:
        """Return the best price shown on a side."""
        bids, asks = self._book.top(1)
        return (bids if side is Side.BID else asks)[0][0]

    def mid(self) -> float:
        """Return the mid price shown."""
        return (self.touch(Side.BID) + self.touch(Side.ASK)) / 2

    def top(self, side: Side, count: int) -> tuple[Level, ...]:
        """Return the best levels shown on a side."""
        return self._book.top(count)[0 if side is Side.BID else 1]

    def large(self) -> float:
        """Return the 95th percentile of the level quantities published last."""
        return float(np.percentile(self._quantities, 95))

    def on_grid(self, price: float) -> float:
        """Return the price of the grid that is nearest."""
        return round(round(price / self.tick) * self.tick, DECIMALS)

    def at_distance(self, side: Side, bps: float) -> float:
        """Return the price of the grid that lies `bps` behind the mid price, at least a tick behind the touch."""
        sign = self.half(side).sign
        price = self.on_grid(self.mid() * (1 - sign * bps * 1e-4))
        return price if self.half(side).is_better(self.touch(side), price) else self.touch(side) - sign * self.tick

    def market_order(self, aggressor: Aggressor, qty: float, *, not_beyond: float | None = None) -> float:
        """Trade up to `qty` against what is shown, best level first; return what was traded.

        `not_beyond` is the worst price accepted. At most 50 levels are walked.
        """
        side = Side.BID if aggressor == "sell" else Side.ASK
        half, left = self.half(side), qty
        for price, shown in self.top(side, _VISIBLE):
            if left < self.step or (not_beyond is not None and half.is_better(not_beyond, price)):
                break
            traded = round(min(left, shown - self._taken.get(price, 0.0)), DECIMALS)
            if traded >= self.step / 2:
                self._taken[price] = self._taken.get(price, 0.0) + traded
                half.take(price, traded)
                self._pending.append(TradePayload(price, traded, aggressor, 0))
                left -= traded
        return qty - left

    def on_trade(self, event: TradeTick) -> TradeTick:
        """Return a base trade as it happens in the joint market: as much of it as of the level that it hits."""
        payload = event.payload
        self._base_trades += 1
        self._base_volume += payload.qty
        half = self.bids if payload.aggressor_side == "sell" else self.asks
        price, qty, own = payload.price, payload.qty, half.best_own()
        if own is not None and half.is_better(own, price):
            price = own
            half.take(own, min(qty, half.own(own)))
        elif half.hides(price):
            price = self.touch(Side.BID if half is self.bids else Side.ASK)
            qty = self._shrunk(qty, half.factor(price))
            half.take(price, min(qty, half.shown(price)))
        else:
            qty = self._shrunk(qty, half.factor(price))
        self._newest = max(self._newest, int(event.ts_event))
        return self._trade(int(event.ts_event), TradePayload(price, qty, payload.aggressor_side, 0))

    def on_diff(self, event: OrderBookDeltas) -> list[MarketEvent]:
        """Return our trades since the last diff, and the base market's diff with our changes in it."""
        ts_event = int(event.ts_event)
        events: list[MarketEvent] = list(self._drain(ts_event))
        payload = event.payload
        self.bids.keep_clear_of(self.asks.best_own())
        self.asks.keep_clear_of(self.bids.best_own())
        bids = self.bids.changes(payload.bids)
        asks = self.asks.changes(payload.asks)
        joint = DeltasPayload(payload.first_update_id, payload.final_update_id, False, bids, asks)
        self._check(joint, ts_event)
        self._quantities.extend(qty for _, qty in bids + asks if qty)
        self._newest = max(self._newest, ts_event)
        if ts_event >= self._next_look:
            self._look()
        events.append(OrderBookDeltas(symbol=event.symbol, venue=event.venue, ts_event=Nanos(ts_event), payload=joint))
        return events

    def _shrunk(self, qty: float, factor: float) -> float:
        return max(self.step, round(round(qty * factor / self.step) * self.step, DECIMALS))

    def _look(self) -> None:
        self._next_look += _NS_PER_SECOND
        bids, asks = self._book.top(MAX_DEPTH_LEVELS)
        bid_depth, ask_depth = (sum((qty for _, qty in side), 0.0) for side in (bids, asks))
        self._seconds.append((asks[0][0] / bids[0][0] - 1, bid_depth, ask_depth))

    def _check(self, joint: DeltasPayload, ts_event: int) -> None:
        change = self._book.apply_deltas(joint, ts_event)
        if change is None or not change.known or change.best_bid is None or change.best_ask is None:
            what = "crossed or one-sided" if self._book.crossed_count or change else "out of sequence"
            raise InvalidStreamError(f"{self._symbol}: the book is {what} at {ts_event} ns")

    def _drain(self, until: int) -> list[TradeTick]:
        # Spread evenly over the time since the newest event, in whole milliseconds like the venue's own.
        span = max(0, until - self._newest)
        count = len(self._pending)
        trades = [
            self._trade(self._newest + span * (rank + 1) // (count + 1) // _NS_PER_MS * _NS_PER_MS, payload)
            for rank, payload in enumerate(self._pending)
        ]
        self._pending.clear()
        self._taken.clear()
        return trades

    def _trade(self, ts_event: int, payload: TradePayload) -> TradeTick:
        self._trade_id += 1
        numbered = TradePayload(payload.price, payload.qty, payload.aggressor_side, self._trade_id)
        return TradeTick(symbol=self._symbol, venue=self._venue, ts_event=Nanos(ts_event), payload=numbered)
