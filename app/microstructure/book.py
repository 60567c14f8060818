"""The order book of one symbol, rebuilt from deltas and from the venue's own top-20 messages.

Deltas carry a range of update ids. They are applied only in unbroken sequence:

| delta                                   | what happens                                             |
|-----------------------------------------|----------------------------------------------------------|
| `snapshot`, with levels                 | replaces the book; the book is in sequence (`ok`)        |
| `snapshot`, empty                       | the producer lost the book: it is dropped until the next |
| `final_update_id` ≤ ours                | a duplicate: ignored                                     |
| `first_update_id` > ours + 1            | a gap: the book is dropped, counted, not `ok`            |
| otherwise                               | applied                                                  |

A top-20 message newer than the deltas replaces the visible region of the book: it also brings levels that
were beyond the snapshot and never changed since. Deltas that are older than it then touch only what lies
outside that region. While the book is not in sequence, the top-20 message alone is the visible book, until
a newer delta shows that it is out of date.

A crossed or locked book cannot be true: it is dropped and counted like a gap.

Only the best `MAX_LEVELS` of a side are kept: reports look at 20, and state must stay small.
"""

from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from app.microstructure.events import MAX_DEPTH_LEVELS, DeltasPayload, DepthPayload

MAX_LEVELS: Final = 1000
_SLACK: Final = 250  # cutting only now and then keeps the cost per update constant

Levels = tuple[tuple[float, float], ...]
BookSide = Literal["bid", "ask"]
LevelChange = tuple[float, float, float]
"""Price, quantity before, quantity now; 0 means that there is no such level."""


class BookChange(msgspec.Struct, frozen=True, gc=False):
    """What one book event did, for the metrics that follow levels over time.

    `restarted` says that the book was replaced, so that nothing before can be compared with what is now: the
    changes then list every level, with 0 before. `known` is false when the book was given up: nothing of it is
    known any more, and there are no changes. The best prices are those after the event.
    """

    ts_event: int
    known: bool
    restarted: bool
    best_bid: float | None
    best_ask: float | None
    bids: list[LevelChange]
    asks: list[LevelChange]


class BookState(msgspec.Struct, frozen=True, array_like=True):
    """A book as values; a side is packed doubles: all prices, rising, then their quantities."""

    ok: bool
    update_id: int
    depth_id: int
    depth_bounds: tuple[float, float]
    gap_count: int
    crossed_count: int
    known: bool
    bids: bytes
    asks: bytes


class _Side:
    """One side of the book: quantities by price, and the prices in rising order.

    The best bid is the last price, the best ask the first. A list of prices is short enough (`MAX_LEVELS`) that
    inserting at its front costs next to nothing.
    """

    __slots__ = ("_bids", "_prices", "_qty")

    def __init__(self, *, bids: bool) -> None:
        self._bids = bids
        self._qty: dict[float, float] = {}
        self._prices: list[float] = []

    def __len__(self) -> int:
        return len(self._prices)

    def clear(self) -> None:
        self._qty.clear()
        self._prices.clear()

    def set(self, levels: Iterable[tuple[float, float]]) -> list[LevelChange]:
        # The hot loop of the system: names are bound once, and most changes bring or take a level.
        quantities, prices = self._qty, self._prices
        quantity_of, take = quantities.get, quantities.pop
        changes: list[LevelChange] = []
        note = changes.append
        for price, qty in levels:
            if qty:
                before = quantity_of(price, 0.0)
                if qty == before:
                    continue
                quantities[price] = qty
                if not before:
                    insort(prices, price)
            else:
                before = take(price, 0.0)
                if not before:
                    continue
                del prices[bisect_left(prices, price)]
            note((price, before, qty))
        if len(prices) > MAX_LEVELS + _SLACK:
            self._cut()
        return changes

    def replace_top(self, levels: list[tuple[float, float]]) -> list[LevelChange]:
        """Replace everything as good as the worst of `levels`, or the whole side if the message is short."""
        prices = self._prices
        if len(levels) < MAX_DEPTH_LEVELS:
            visible = list(prices)
        elif self._bids:
            visible = prices[bisect_left(prices, levels[-1][0]) :]
        else:
            visible = prices[: bisect_right(prices, levels[-1][0])]
        given = dict(levels)
        gone = [(price, 0.0) for price in visible if price not in given]
        return self.set(gone) + self.set(levels)

    def quantity(self, price: float) -> float:
        return self._qty.get(price, 0.0)

    def best(self) -> float | None:
        if not self._prices:
            return None
        return self._prices[-1] if self._bids else self._prices[0]

    def top(self, count: int) -> Levels:
        quantities = self._qty
        visible = self._prices[: -count - 1 : -1] if self._bids else self._prices[:count]
        return tuple([(price, quantities[price]) for price in visible])

    def pack(self) -> bytes:
        prices = self._prices
        return array("d", prices).tobytes() + array("d", map(self._qty.__getitem__, prices)).tobytes()

    def unpack(self, packed: bytes) -> None:
        numbers = array("d")
        numbers.frombytes(packed)
        half = len(numbers) // 2
        self._prices = numbers[:half].tolist()
        self._qty = dict(zip(self._prices, numbers[half:], strict=True))

    def _cut(self) -> None:
        excess = len(self._prices) - MAX_LEVELS
        worst = slice(0, excess) if self._bids else slice(MAX_LEVELS, None)
        for price in self._prices[worst]:
            del self._qty[price]
        del self._prices[worst]


class OrderBook:
    """The book of one symbol; see the module for its rules.

    Attributes:
        ok: the deltas are in unbroken sequence since a snapshot.
        gap_count: how often the book had to be given up, for whatever cause.
        crossed_count: how often of these because it was crossed or locked.
    """

    def __init__(self) -> None:
        self.ok = False
        self.gap_count = 0
        self.crossed_count = 0
        self._bids = _Side(bids=True)
        self._asks = _Side(bids=False)
        self._known = False
        self._update_id = 0
        self._depth_id = 0
        self._depth_bounds = (0.0, 0.0)

    @property
    def update_id(self) -> int | None:
        """The newest update that the visible book shows; `None` while it is not known."""
        return max(self._update_id, self._depth_id) if self._known else None

    def apply_deltas(self, deltas: DeltasPayload, ts_event: int) -> BookChange | None:
        """Apply a delta or a snapshot, or give the book up; `None` if the event changes nothing."""
        if deltas.snapshot:
            return self._restart(deltas, ts_event)
        if not self.ok:
            stale = self._known and deltas.final_update_id > self._depth_id
            return self._forget(ts_event) if stale else None
        if deltas.final_update_id <= self._update_id:
            return None
        if deltas.first_update_id > self._update_id + 1:
            self._update_id = deltas.final_update_id
            return self._give_up(ts_event)
        return self._set(deltas, ts_event)

    def apply_depth(self, depth: DepthPayload, ts_event: int) -> BookChange | None:
        """Replace the visible region by the venue's own top 20; `None` if ours is newer."""
        if depth.last_update_id < max(self._update_id, self._depth_id):
            return None
        restarted = not self._known
        if not self.ok:
            self._bids.clear()
            self._asks.clear()
            restarted = True
        bids = self._bids.replace_top(depth.bids)
        asks = self._asks.replace_top(depth.asks)
        self._known = True
        self._depth_id = depth.last_update_id
        self._depth_bounds = (
            depth.bids[-1][0] if depth.bids else float("inf"),
            depth.asks[-1][0] if depth.asks else 0.0,
        )
        return self._changed(ts_event, restarted, bids, asks)

    def has_deltas(self, deltas: DeltasPayload) -> bool:
        """Whether deltas that are no snapshot are not beyond all that were seen."""
        return not deltas.snapshot and deltas.final_update_id <= self._update_id

    def has_depth(self, depth: DepthPayload) -> bool:
        """Whether a top 20 is not beyond all that was seen."""
        return depth.last_update_id <= max(self._update_id, self._depth_id)

    def quantity(self, side: BookSide, price: float) -> float:
        """Return the quantity of a level, 0 if there is none."""
        return (self._bids if side == "bid" else self._asks).quantity(price)

    def top(self, count: int) -> tuple[Levels, Levels]:
        """Return bids and asks, best first, at most `count` each; empty while the book is not known."""
        return self._bids.top(count), self._asks.top(count)

    def snapshot(self) -> BookState:
        """Return the whole state as values."""
        return BookState(
            self.ok,
            self._update_id,
            self._depth_id,
            self._depth_bounds,
            self.gap_count,
            self.crossed_count,
            self._known,
            self._bids.pack(),
            self._asks.pack(),
        )

    @classmethod
    def restore(cls, state: BookState) -> "OrderBook":
        """Return a book that goes on exactly where `state` was taken."""
        book = cls()
        book.ok, book.gap_count, book.crossed_count = state.ok, state.gap_count, state.crossed_count
        book._update_id, book._depth_id = state.update_id, state.depth_id
        book._depth_bounds, book._known = state.depth_bounds, state.known
        book._bids.unpack(state.bids)
        book._asks.unpack(state.asks)
        return book

    def _restart(self, snapshot: DeltasPayload, ts_event: int) -> BookChange | None:
        lost = not snapshot.bids and not snapshot.asks
        if lost:
            if self.ok:
                return self._give_up(ts_event)
            return self._forget(ts_event) if self._known else None
        self._forget(ts_event)
        self.ok = self._known = True
        self._update_id = snapshot.final_update_id
        self._depth_id = 0
        return self._changed(ts_event, True, self._bids.set(snapshot.bids), self._asks.set(snapshot.asks))

    def _set(self, deltas: DeltasPayload, ts_event: int) -> BookChange:
        bids: Iterable[tuple[float, float]] = deltas.bids
        asks: Iterable[tuple[float, float]] = deltas.asks
        if deltas.final_update_id <= self._depth_id:
            lowest, highest = self._depth_bounds
            bids = [level for level in bids if level[0] < lowest]
            asks = [level for level in asks if level[0] > highest]
        self._update_id = deltas.final_update_id
        return self._changed(ts_event, False, self._bids.set(bids), self._asks.set(asks))

    def _changed(self, ts_event: int, restarted: bool, bids: list[LevelChange], asks: list[LevelChange]) -> BookChange:
        bid, ask = self._bids.best(), self._asks.best()
        if bid is not None and ask is not None and bid >= ask:
            self.crossed_count += 1
            return self._give_up(ts_event)
        return BookChange(ts_event, True, restarted, bid, ask, bids, asks)

    def _give_up(self, ts_event: int) -> BookChange:
        self.gap_count += 1
        self.ok = False
        return self._forget(ts_event)

    def _forget(self, ts_event: int) -> BookChange:
        self._known = False
        self._bids.clear()
        self._asks.clear()
        return BookChange(ts_event, False, False, None, None, [], [])
