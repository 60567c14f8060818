"""The exchange's own order book of one symbol: price levels with their total quantity (L2).

A side is a dict of quantities and a list of its prices kept sorted best first. A new level costs one
`insort`, which moves 8 bytes a level behind it, so even 5,000 levels cost only microseconds; the best price
and the first n levels are plain list reads. Prices and quantities are units (see `units`).
"""

from bisect import bisect_left, insort
from collections.abc import Iterator
from enum import Enum
from typing import Final

import msgspec

Level = tuple[int, int]
"""Price and quantity in units."""


class Side(Enum):
    """Which half of the book."""

    BID = "bid"
    ASK = "ask"

    @property
    def opposite(self) -> "Side":
        """The other half."""
        return Side.ASK if self is Side.BID else Side.BID


class Depth(msgspec.Struct, frozen=True):
    """A snapshot: the best levels of both sides, best first, as of `last_update_id`."""

    last_update_id: int
    bids: list[Level]
    asks: list[Level]


class BookSide:
    """One half of a book."""

    def __init__(self, side: Side) -> None:
        # Bids are kept negated, so that both sides sort best first.
        self._sign: Final = -1 if side is Side.BID else 1
        self._keys: list[int] = []
        self._quantities: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[Level]:
        return self.top(len(self._keys))

    def quantity(self, price: int) -> int:
        """Return the quantity at `price`, 0 where there is no level."""
        return self._quantities.get(price, 0)

    def put(self, price: int, quantity: int) -> None:
        """Set the level at `price`; quantity 0 removes it, also where it is not there."""
        known = price in self._quantities
        if quantity:
            self._quantities[price] = quantity
            if not known:
                insort(self._keys, self._sign * price)
        elif known:
            del self._quantities[price]
            del self._keys[bisect_left(self._keys, self._sign * price)]

    def best(self) -> Level | None:
        """Return the best level, `None` on an empty side."""
        return self.at(0) if self._keys else None

    def at(self, rank: int) -> Level:
        """Return the level at `rank`, 0 being the best.

        Raises:
            IndexError: the side has fewer levels.
        """
        price = self._sign * self._keys[rank]
        return price, self._quantities[price]

    def top(self, limit: int) -> Iterator[Level]:
        """Yield up to `limit` levels, best first."""
        for key in self._keys[:limit]:
            price = self._sign * key
            yield price, self._quantities[price]

    def prices(self) -> list[int]:
        """Return every price that has a level, best first."""
        return [self._sign * key for key in self._keys]


class Book:
    """Both sides and the id of the last update that they contain."""

    def __init__(self, last_update_id: int = 0) -> None:
        self.last_update_id = last_update_id
        self.bids = BookSide(Side.BID)
        self.asks = BookSide(Side.ASK)

    def side(self, side: Side) -> BookSide:
        """Return one half."""
        return self.bids if side is Side.BID else self.asks

    def put(self, side: Side, price: int, quantity: int) -> None:
        """Set one level; the caller moves `last_update_id`."""
        self.side(side).put(price, quantity)

    def best(self) -> tuple[Level | None, Level | None]:
        """Return the best bid and the best ask."""
        return self.bids.best(), self.asks.best()

    def depth(self, limit: int) -> Depth:
        """Return up to `limit` levels a side."""
        return Depth(self.last_update_id, list(self.bids.top(limit)), list(self.asks.top(limit)))

    @classmethod
    def from_depth(cls, depth: Depth) -> "Book":
        """Build a book from a snapshot."""
        book = cls(depth.last_update_id)
        for price, quantity in depth.bids:
            book.bids.put(price, quantity)
        for price, quantity in depth.asks:
            book.asks.put(price, quantity)
        return book
