"""Who trades on the synthetic market: orders placed, taken back and executed against one book.

A hidden fair price walks at random. Makers place orders on their side of it, most of them near, and take
them back; takers send market orders, which walk the book level by level and lean towards the side where the
book has fallen behind the fair price. That pulls the mid price after the fair price, thins the book that is
in the way and leaves the other side to be refilled: the spread widens in a run and closes after it.

Every decision comes from one seeded generator, so the flow is a function of the seed and of nothing else.
"""

import math
import random
from typing import Final

import msgspec

from producer.exchange.book import Book, Side
from producer.exchange.symbols import Listing

LEVELS: Final = 300
"""Levels a side that makers maintain."""

MIN_LEVELS: Final = 50
"""No side ever has fewer: takers and cancels stop there."""

ACTIONS_PER_TRADE: Final = 4.0
_MAX_SWEEP: Final = 8
_VOLATILITY: Final = 0.5 / math.sqrt(365 * 86_400)  # per √s: 50 % a year
_GAP: Final = 2e-6  # typical distance of neighbouring levels near the touch, of the price
_GAP_GROWTH: Final = 1.01  # and how it grows from level to level into the book
_FAR_GAPS: Final = 100.0
_NEAR_GAPS: Final = 5.0
_NEAR_TICKS: Final = 1.5  # where the tick is coarse, makers queue at the touch instead


class Change(msgspec.Struct, frozen=True, gc=False):
    """One update of the book: the level's new quantity, and how much of the old one was traded away."""

    side: Side
    price: int
    quantity: int
    traded: int = 0


class OrderFlow:
    """The orders of one symbol: `next_wait` says when the next action comes, `act` what it does.

    `trades_per_sec` is met in the long run: takers come more often while trades are behind it.
    """

    def __init__(self, listing: Listing, rng: random.Random, trades_per_sec: float) -> None:
        self._rng = rng
        self._tick = listing.info.tick
        self._step = listing.info.step
        self._usual = listing.quantity
        self._gap = max(float(self._tick), listing.price * _GAP)
        self._near = _NEAR_GAPS * self._gap if self._gap > self._tick else _NEAR_TICKS * self._tick
        self._fair = float(listing.price)
        self._trades_per_sec = trades_per_sec
        self._actions_per_sec = trades_per_sec * ACTIONS_PER_TRADE
        # A book can only follow as fast as it is traded: a quiet market is a calm one.
        reach = 4 * self._gap / listing.price * math.sqrt(trades_per_sec)
        self._volatility = min(_VOLATILITY, reach)
        self._owed = 0.0

    def open_book(self, last_update_id: int) -> Book:
        """Return the book that the market opens with."""
        book = Book(last_update_id)
        for side, away in ((Side.BID, -1), (Side.ASK, 1)):
            distance = 0
            for rank in range(LEVELS):
                gap = self._gap * _GAP_GROWTH**rank
                distance += self._tick * max(1, round(self._rng.expovariate(1 / gap) / self._tick))
                price = self._on_grid(self._fair, up=away > 0) + away * distance
                if price > 0:
                    book.put(side, price, self._quantity(distance))
        return book

    def next_wait(self) -> float:
        """Return the seconds until the next action, and let the fair price walk for as long."""
        wait = self._rng.expovariate(self._actions_per_sec)
        step = self._rng.gauss(0.0, self._volatility * math.sqrt(wait))
        self._fair = max(self._fair * math.exp(step), 100.0 * self._tick)
        self._owed += wait * self._trades_per_sec
        return wait

    def act(self, book: Book) -> list[Change]:
        """Return what the next action does to the book, in order; apply it before the next call."""
        eagerness = (1.0 + self._owed / max(1.0, self._trades_per_sec)) / ACTIONS_PER_TRADE
        if self._rng.random() < eagerness:
            changes = self._take(book)
            self._owed -= len(changes)
            return changes
        side = Side.BID if self._rng.random() < 0.5 else Side.ASK
        missing = 1.0 - len(book.side(side)) / LEVELS
        if self._rng.random() < 0.5 + 0.5 * missing:
            return [self._place(book, side)]
        return self._cancel(book, side)

    def _take(self, book: Book) -> list[Change]:
        (bid, _), (ask, _) = book.bids.at(0), book.asks.at(0)
        behind = (self._fair - (bid + ask) / 2) / self._gap
        buys = self._rng.random() < 0.5 + 0.45 * math.tanh(behind / 3)
        side = Side.ASK if buys else Side.BID
        left = self._lots(self._usual * self._rng.lognormvariate(-0.7, 1.2))
        levels = book.side(side)
        changes: list[Change] = []
        for rank in range(min(_MAX_SWEEP, len(levels) - MIN_LEVELS)):
            price, quantity = levels.at(rank)
            traded = min(left, quantity)
            changes.append(Change(side, price, quantity - traded, traded))
            left -= traded
            if not left:
                break
        return changes

    def _place(self, book: Book, side: Side) -> Change:
        far = self._rng.random() < 0.3
        distance = self._rng.expovariate(1 / (self._gap * _FAR_GAPS if far else self._near))
        if side is Side.BID:
            touch = min(self._on_grid(self._fair, up=False), book.asks.at(0)[0] - self._tick)
            price = max(self._tick, touch - self._on_grid(distance, up=False))
        else:
            touch = max(self._on_grid(self._fair, up=True), book.bids.at(0)[0] + self._tick)
            price = touch + self._on_grid(distance, up=False)
        return Change(side, price, book.side(side).quantity(price) + self._quantity(distance))

    def _cancel(self, book: Book, side: Side) -> list[Change]:
        levels = book.side(side)
        if len(levels) <= MIN_LEVELS:
            return []
        near = self._rng.random() < 0.7
        rank = int(self._rng.expovariate(1 / 20)) if near else self._rng.randrange(len(levels))
        price, quantity = levels.at(min(rank, len(levels) - 1))
        if self._rng.random() < 0.7:
            return [Change(side, price, 0)]
        kept = self._lots(quantity * self._rng.uniform(0.2, 0.8))
        return [Change(side, price, min(kept, quantity - self._step))]

    def _quantity(self, distance: float) -> int:
        # Deeper orders are larger, up to five times.
        deeper = 1.0 + 4.0 * min(1.0, distance / (self._gap * _FAR_GAPS))
        return self._lots(self._usual * deeper * self._rng.lognormvariate(0.0, 1.0))

    def _lots(self, quantity: float) -> int:
        return max(1, round(quantity / self._step)) * self._step

    def _on_grid(self, price: float, *, up: bool) -> int:
        ticks = price / self._tick
        return (math.ceil(ticks) if up else math.floor(ticks)) * self._tick
