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
from bisect import bisect_left, insort
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
    """A book as values; sides are packed doubles price, qty, price, qty …, best last."""

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
    """One side of the book: quantities by price, and keys sorted so that the best price comes last.

    The key is the price for bids and its negative for asks. Most changes happen near the best price, so
    near the end of the list, where inserting and deleting move little.
    """

    __slots__ = ("_keys", "_qty", "sign")

    def __init__(self, sign: float) -> None:
        self.sign = sign
        self._qty: dict[float, float] = {}
        self._keys: list[float] = []

    def __len__(self) -> int:
        return len(self._keys)

    def clear(self) -> None:
        self._qty.clear()
        self._keys.clear()

    def set(self, levels: Iterable[tuple[float, float]]) -> list[LevelChange]:
        # The hot loop of the system: names are bound once, and most levels exist already.
        sign, quantities, keys = self.sign, self._qty, self._keys
        quantity_of = quantities.get
        changes: list[LevelChange] = []
        note = changes.append
        for price, qty in levels:
            key = sign * price
            before = quantity_of(key, 0.0)
            if qty == before:
                continue
            note((price, before, qty))
            if not qty:
                del quantities[key]
                del keys[bisect_left(keys, key)]
            else:
                quantities[key] = qty
                if not before:
                    insort(keys, key)
        if len(keys) > MAX_LEVELS + _SLACK:
            self._cut()
        return changes

    def replace_top(self, levels: list[tuple[float, float]]) -> list[LevelChange]:
        """Replace everything as good as the worst of `levels`, or the whole side if the message is short."""
        whole_side = len(levels) < MAX_DEPTH_LEVELS
        start = 0 if whole_side else bisect_left(self._keys, self.sign * levels[-1][0])
        given = dict(levels)
        gone = [(self.sign * key, 0.0) for key in self._keys[start:] if self.sign * key not in given]
        return self.set(gone) + self.set(
            [(price, qty) for price, qty in levels if self._qty.get(self.sign * price) != qty]
        )

    def quantity(self, price: float) -> float:
        return self._qty.get(self.sign * price, 0.0)

    def best(self) -> float | None:
        return self.sign * self._keys[-1] if self._keys else None

    def top(self, count: int) -> Levels:
        sign, quantities = self.sign, self._qty
        return tuple([(sign * key, quantities[key]) for key in self._keys[: -count - 1 : -1]])

    def pack(self) -> bytes:
        return array("d", [number for key in self._keys for number in (self.sign * key, self._qty[key])]).tobytes()

    def unpack(self, packed: bytes) -> None:
        numbers = array("d")
        numbers.frombytes(packed)
        self._keys = [self.sign * price for price in numbers[::2]]
        self._qty = dict(zip(self._keys, numbers[1::2], strict=True))

    def _cut(self) -> None:
        worst = len(self._keys) - MAX_LEVELS
        for key in self._keys[:worst]:
            del self._qty[key]
        del self._keys[:worst]


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
        self._bids = _Side(1.0)
        self._asks = _Side(-1.0)
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
