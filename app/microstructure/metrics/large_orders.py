"""Large orders of one side of the book: placed, moved, cancelled, traded. Spoofing is judged on them.

A level feed shows no orders, so one is taken to be a rise of a level by at least `large` within one book event,
between `min_distance_bps` and `max_distance_bps` from the mid. What the level falls afterwards is taken from the
newest large quantity there, and is

- traded, as far as trades at the price explain it that came up to `explain_ms` before the fall or after it;
- cancelled otherwise, if the order is at most `lifetime_sec` old, and the price half of `min_distance_bps` away from
  the mid and behind the best price that is left: who gives way at the touch does what every market maker does.

Honest quoting comes back in the same size (within `same_size`). Within `requote_ms` of its cancel it is the same
order, moved. A size that is placed again and again, with pauses of up to `routine_sec`, is routine.

All quantities are whole 10⁻⁸ units, times are event-time nanoseconds.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from app.microstructure.book import LevelChange
from app.microstructure.metrics.order_values import Count, Order, OrderParams, OrdersState, Size
from app.microstructure.rfc3339 import NANOS_PER_SECOND

UNITS: Final = 100_000_000
MAX_ORDERS: Final = 128  # a side, and as many displaced ones; the oldest is dropped first
MAX_SIZES: Final = 64  # a side; the one unseen for longest is dropped first
_NANOS_PER_MS: Final = 1_000_000
_LARGEST: Final = 3.0


class LargeOrders:
    """The large orders of one side that were placed within the window.

    Attributes:
        orders: the newest order at each price, whatever became of it.
        held: what counts at this time is kept, whatever comes; `None`: nothing is.
    """

    def __init__(self, params: OrderParams) -> None:
        self._params = params
        self._window = params.window_sec * NANOS_PER_SECOND
        self._lifetime = params.lifetime_sec * NANOS_PER_SECOND
        self._explain = params.explain_ms * _NANOS_PER_MS
        self._requote = params.requote_ms * _NANOS_PER_MS
        self._memory = params.routine_sec * NANOS_PER_SECOND
        self.orders: dict[float, Order] = {}
        self._displaced: list[Order] = []
        self._sizes: dict[int, Size] = {}
        self._next_size_id = 0
        self.held: int | None = None

    def change(self, changes: list[LevelChange], now: int, large: float, best: float | None, mid: float | None) -> bool:
        """Follow the level changes of one book event; return whether some order was cancelled by it.

        `best` is the side's best price after the event; without it there is no `mid` either.
        `changes` need hold only rises of at least `large` and changes at the prices of `orders`.
        """
        self._forget(now)
        cancelled = False
        rises = []
        for price, before, after in changes:
            if after > before:
                if after - before >= large:
                    rises.append((price, round((after - before) * UNITS)))
            elif price in self.orders:
                away = best is not None and mid is not None and self._away(abs(price - mid), best, mid)
                cancelled |= self._fall(self.orders[price], round((before - after) * UNITS), now, away=away)
        if mid is not None:
            for price, units in rises:  # after the falls: a moved quote leaves before it arrives
                distance = abs(price - mid) / mid * 1e4
                if self._params.min_distance_bps <= distance <= self._params.max_distance_bps:
                    self._place(price, units, distance, now, round(large * UNITS))
        return cancelled

    def _away(self, distance: float, best: float, mid: float) -> bool:
        """Return whether a price so far from the mid is not at the touch."""
        return distance >= mid * self._params.min_distance_bps / 2e4 and distance > abs(best - mid)

    def trade(self, order: Order, units: int, time: int) -> None:
        """Let a trade at the order's price explain a fall just seen, or one still to be seen."""
        if order.last_cancel and abs(time - order.fell_at) <= self._explain:
            explained = min(units, order.last_cancel)
            order.last_cancel -= explained
            order.cancelled -= explained
            units -= explained
        order.traded = units + (order.traded if time - order.traded_at <= self._explain else 0)
        order.traded_at = max(time, order.traded_at)

    def bursts(self, at: int, large: float) -> list[Count]:
        """Count, around each cancel that counts from `at` on, the orders of about its size: largest cancel first."""
        every, fell_at = (*self._displaced, *self.orders.values()), at - self._requote
        fallen = [order for order in every if order.fell_at == fell_at and order.cancelled]
        fresh = {order.size for order in self._counted(fallen, at, large)}
        if not fresh:  # nearly always: most that is taken back is routine
            return []
        orders, most = self._counted(every, at, large), self._params.size_ratio
        return [
            self._sum([order for order in orders if size <= most * order.size and order.size <= most * size], at)
            for size in sorted(fresh, reverse=True)
        ]

    def count(self, at: int, large: float) -> Count:
        """Count the orders of the window that ends at `at`, but for routine sizes."""
        return self._sum(self._counted((*self._displaced, *self.orders.values()), at, large), at)

    def _counted(self, orders: Iterable[Order], at: int, large: float) -> list[Order]:
        since = at - self._window
        return [o for o in orders if o.placed_at > since and not self._is_routine(o.size_id, at, large)]

    def _sum(self, orders: list[Order], at: int) -> Count:
        return Count(
            sum([order.placements for order in orders]),
            sum([order.units for order in orders]),
            sum([order.cancelled for order in orders if order.fell_at + self._requote <= at]),
            sum([order.usual for order in orders]),
            [order.distance_bps for order in orders],
        )

    def start_over(self) -> None:
        """Forget everything: the book was given up or replaced."""
        self.orders.clear()
        self._displaced.clear()
        self._sizes.clear()

    def rewind(self, to: int) -> None:
        """Let what was stamped later than `to` have happened at `to`: that time was wrong."""
        for order in (*self.orders.values(), *self._displaced):
            order.placed_at = min(order.placed_at, to)
            order.fell_at = min(order.fell_at, to)
            order.traded_at = min(order.traded_at, to)
        for size in self._sizes.values():
            size.last = min(size.last, to)

    def pack(self) -> OrdersState:
        """Return the whole state."""
        return OrdersState(
            [msgspec.structs.replace(order) for order in self.orders.values()],
            [msgspec.structs.replace(order) for order in self._displaced],
            [msgspec.structs.replace(size) for size in self._sizes.values()],
            self._next_size_id,
        )

    @classmethod
    def unpack(cls, state: OrdersState, params: OrderParams) -> "LargeOrders":
        """Return the orders as they were when `state` was taken."""
        restored = cls(params)
        restored.orders = {order.price: msgspec.structs.replace(order) for order in state.orders}
        restored._displaced = [msgspec.structs.replace(order) for order in state.displaced]
        restored._sizes = {size.size_id: msgspec.structs.replace(size) for size in state.sizes}
        restored._next_size_id = state.next_size_id
        return restored

    def _forget(self, now: int) -> None:
        if self.held is not None and self.held < now:
            now = self.held
        orders, sizes = self.orders, self._sizes
        while orders and (first := next(iter(orders.values()))).placed_at + self._window <= now:
            del orders[first.price]
        while sizes and (oldest := next(iter(sizes.values()))).last + self._memory <= now:
            del sizes[oldest.size_id]
        if self._displaced:
            self._displaced = [order for order in self._displaced if order.placed_at + self._window > now]

    def _is_routine(self, size_id: int, at: int, large: float) -> bool:
        """Return whether a size is routine: the larger and the more at a time, the more often it must be seen."""
        size, count = self._sizes.get(size_id), self._params.routine_count
        return (
            size is not None
            and size.seen >= count  # of nearly all sizes this is false
            and size.seen >= count * max(size.together, min(size.units / (large * UNITS), _LARGEST))
            and size.together < self._params.layer
            and at < size.last + self._memory
        )

    def _fall(self, order: Order, units: int, now: int, *, away: bool) -> bool:
        """Take a fall of the level from the order; return whether some of it was a cancel, `away` from the mid."""
        traded = order.traded if now - order.traded_at <= self._explain else 0
        explained = min(units, traded)
        order.traded = traded - explained
        order.left -= min(explained, order.left)
        cancelled = min(units - explained, order.left)
        order.left -= cancelled
        if not cancelled or not away or now - order.placed_at > self._lifetime:
            return False
        order.cancelled += cancelled
        order.last_cancel = cancelled
        order.fell_at = now
        return True

    def _place(self, price: float, units: int, distance: float, now: int, large: int) -> None:
        size = self._size(units, now)
        moved = self._moved(price, units, now)
        if moved is not None:
            del self.orders[moved.price]
        order = self.orders.pop(price, None)
        if order is not None and order.gone:
            self._displaced.append(order)
            del self._displaced[:-MAX_ORDERS]
            order = None
        if order is None:
            order = Order(price, distance, now, 0, 0, size.size_id)
        order.distance_bps, order.placed_at, order.size_id = distance, now, size.size_id
        order.units += units
        order.left += units
        placements = moved.placements if moved else 1
        order.placements += placements
        order.usual += placements * large
        self.orders[price] = order
        if len(self.orders) > MAX_ORDERS:
            del self.orders[next(iter(self.orders))]
        standing = [each for each in self.orders.values() if each.size_id == size.size_id and not each.gone]
        size.together = max(size.together, len(standing))

    def _moved(self, price: float, units: int, now: int) -> Order | None:
        """Return the order that was pulled a moment ago and is now placed again, if there is one."""
        since, least, most = now - self._requote, *self._alike(units)
        pulled = [
            order
            for order in self.orders.values()
            if order.fell_at > since and least <= order.units <= most and order.pulled
        ]
        return min(pulled, key=lambda order: (abs(order.units - units), abs(order.price - price)), default=None)

    def _alike(self, units: int) -> tuple[float, float]:
        off = self._params.same_size * units
        return units - off, units + off

    def _size(self, units: int, now: int) -> Size:
        """Count one more use of a size, and return it."""
        least, most = self._alike(units)
        near = [size for size in self._sizes.values() if least <= size.units <= most]
        if near:
            size = min(near, key=lambda each: abs(each.units - units))
            del self._sizes[size.size_id]
        else:
            size = Size(self._next_size_id, units, 0, 0, now)
            self._next_size_id += 1
            if len(self._sizes) == MAX_SIZES:
                del self._sizes[next(iter(self._sizes))]
        self._sizes[size.size_id] = size
        size.units, size.seen, size.last = units, size.seen + 1, now
        return size
