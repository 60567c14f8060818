"""What is known of a large order, of a size and of a group of orders; `large_orders` keeps them.

They are values: a snapshot holds copies of them as they are. All quantities are whole 10⁻⁸ units, times are
event-time nanoseconds.
"""

from typing import Final, NamedTuple

import msgspec

_GONE: Final = 0.25


class OrderParams(msgspec.Struct, frozen=True):
    """What is an order, a move and a routine size; docs/metrics.md gives the reasons."""

    min_distance_bps: float = 2.0
    max_distance_bps: float = 50.0
    window_sec: int = 30
    lifetime_sec: int = 10
    explain_ms: int = 300
    requote_ms: int = 1000
    same_size: float = 0.02
    routine_count: int = 3
    routine_sec: int = 300
    layer: int = 5
    size_ratio: float = 1.5


class Order(msgspec.Struct, array_like=True):
    """A large quantity at a price: placed, still there, cancelled.

    `fell_at` and `last_cancel` tell of the newest cancel, `traded` and `traded_at` of trades that no fall has
    shown yet. `placements` is above 1 when further large rises joined the first; `usual` is the large size at
    each of them, in all.
    """

    price: float
    distance_bps: float
    placed_at: int
    units: int
    left: int
    size_id: int
    placements: int = 0
    usual: int = 0
    cancelled: int = 0
    fell_at: int = 0
    last_cancel: int = 0
    traded: int = 0
    traded_at: int = 0

    @property
    def size(self) -> float:
        """Units of one placement."""
        return self.units / self.placements

    @property
    def gone(self) -> bool:
        """Whether hardly anything is left; a rest may be somebody else's."""
        return self.left <= _GONE * self.units

    @property
    def pulled(self) -> bool:
        """Whether it is gone, and not by trades."""
        return self.cancelled >= (1 - _GONE) * self.units


class Size(msgspec.Struct, array_like=True):
    """A size seen before: how often it was placed, how many stood at once, when last."""

    size_id: int
    units: int
    seen: int
    together: int
    last: int


class Count(NamedTuple):
    """Some orders of a window: how many, their quantity, how much of it was cancelled, how far from the mid.

    `usual` is the large size when they were placed, in all.
    """

    placements: int
    placed: int
    cancelled: int
    usual: int
    distances_bps: list[float]


class OrdersState(msgspec.Struct, frozen=True, array_like=True):
    """Orders by time of placing, those displaced at their price, sizes by time of last use."""

    orders: list[Order]
    displaced: list[Order]
    sizes: list[Size]
    next_size_id: int
