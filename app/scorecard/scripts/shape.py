"""Shapes of the book that scripts give it: where it ends, how wide it gapes, how much of it is left.

The base market goes on underneath. What scripts do not want to be seen is hidden or cut down, and where the price
has been led to a region that the base market hardly quotes, orders of ours take the makers' place. Makers act now
and then, not at every diff: what a shape hides, it hides until it is over, and what it cuts down stays as it is
while the depth is about right. Else large orders would come and go that nobody placed.
"""

import random
from typing import Final

from app.scorecard.half import Half, Resize
from app.scorecard.venue import Venue
from producer.exchange.book import Side

_RUNGS: Final = 20
_NEST_BPS: Final = 8.0
_REFILLS_PER_DIFF: Final = 0.5
_BELOW_LARGE: Final = 0.9
_ABOUT_RIGHT: Final = (0.8, 1.0)  # of the depth that is to be left
_FASTEST: Final = (0.7, 1.03)  # what makers may withdraw and bring back from one diff to the next
_WIDTHS: Final = 3.0  # how far makers withdraw or bring more, in widths of the best 20 levels


class _Ladder:
    """Orders of ours behind a moving touch, as dense and large as those that were there when the move began.

    `best` may be in front of the base market's touch, which the side's makers have then left behind, or behind it,
    where the base market's own levels are thinner than those around its touch: `deep` fills these up, to what is usual.
    """

    def __init__(self, venue: Venue, side: Side, rng: random.Random, *, deep: bool) -> None:
        self._venue, self._half, self._rng, self._deep = venue, venue.half(side), rng, deep
        self._scale = 1.0
        top = venue.top(side, _RUNGS)
        self._usual, self._large = venue.usual_depth(side), venue.large()
        self._largest = _BELOW_LARGE * self._large
        self._sizes = [qty for _, qty in top + venue.top(side.opposite, _RUNGS)]
        self._gap = max(venue.tick, abs(top[-1][0] - top[0][0]) / len(top))

    def follow(self, best: float) -> None:
        """Let the side's best price be `best`.

        The makers have come along: their quotes around the base market's touch are not shown any more. Else that
        touch, with all that is placed and cancelled there, would stand far from the mid price. Large orders that
        stand there wait: who takes them all back without a trade would play a spoofer.
        """
        half, gap, base = self._half, self._gap, self._half.base_touch()
        in_front = half.sign * (best - base) / base
        half.keep(self._large if in_front > 0 else None)
        if in_front > 0:
            nest = base * (1 - half.sign * min(in_front, _NEST_BPS * 1e-4))
            half.limit = nest if half.limit is None or half.is_better(half.limit, nest) else half.limit
        else:
            half.limit = best
        for price in half.own_prices():
            if half.is_better(price, best):
                half.put(price, 0.0)
        if in_front > 0:
            self._fill(best, half.limit)
        elif self._deep:
            self._fill(best, best - half.sign * _RUNGS * gap)
        if self._deep:
            self._top_up(best)

    def _top_up(self, best: float) -> None:
        """Let makers add to the best 20 levels if these show much less than is usual."""
        levels = self._venue.top(self._half.side, _RUNGS)
        missing = self._usual - sum(qty for _, qty in levels)
        if missing > self._usual * (1 - _ABOUT_RIGHT[0]):
            for price, qty in levels:
                if not self._half.is_better(price, best):
                    room = max(0.0, self._largest * self._rng.uniform(0.3, 1.0) - qty)
                    more = min(missing / len(levels) * self._rng.uniform(0.5, 1.5), room)
                    self._half.put(price, self._half.own(price) + more)

    def _fill(self, best: float, furthest: float) -> None:
        """Place orders where there are none yet, from `best` on and up to `furthest`."""
        half, gap = self._half, self._gap
        standing = half.own_prices()
        if not standing:
            standing = [furthest]
        else:
            self._add(standing[-1] - half.sign * gap, furthest)
        self._add(best, standing[0])

    def _add(self, start: float, end: float) -> None:
        price = start
        while self._half.is_better(price, end):
            self._half.put(self._venue.on_grid(price), self._size() * self._scale)
            price -= self._half.sign * self._gap * self._rng.uniform(0.5, 1.5)

    def _size(self) -> float:
        """Return what some maker brings: no two of them the same, else a level filled anew would be an iceberg's."""
        return min(
            self._rng.choice(self._sizes) * self._rng.uniform(0.6, 1.4), self._largest * self._rng.uniform(0.5, 1.0)
        )

    def rescale(self, scale: float) -> None:
        """Let all orders be `scale` of the usual size."""
        if scale != self._scale:
            for price in self._half.own_prices():
                self._half.put(price, self._half.own(price) * scale / self._scale)
            self._scale = scale

    def clear(self) -> None:
        """Take all orders back."""
        for price in self._half.own_prices():
            self._half.put(price, 0.0)


def refill(half: Half, rng: random.Random) -> None:
    """Let makers fill up what was eaten, some tenths of a second later and to a size of their own."""
    if rng.random() < _REFILLS_PER_DIFF:
        half.restock(rng)


class Withdrawal:
    """Makers of one side withdraw in part, those of large orders most, as far as is wanted.

    Attributes:
        scale: what is left of orders that are not large.
    """

    def __init__(self, venue: Venue, side: Side) -> None:
        self._venue, self._half = venue, venue.half(side)
        self._usual, self._large = venue.usual_depth(side), venue.large()
        self._width = _width(venue, side)
        self._furthest = venue.touch(side)
        self.scale = 1.0

    def leave(self, left: float, best: float) -> None:
        """Let the 20 levels shown hold at most `left` of what is usual; 1 and more is all there is."""
        half, target = self._half, left * self._usual
        if left >= 1:
            self.scale, half.resize = 1.0, None
            return
        levels = self._venue.top(half.side, _RUNGS)
        held = sum(qty for _, qty in levels)
        low, high = _ABOUT_RIGHT
        if held > high * target or (held < low * target and self.scale < 1):
            step = (low + high) / 2 * target / held
            self.scale = min(1.0, self.scale * min(max(step, _FASTEST[0]), _FASTEST[1]))
        reach = _WIDTHS * max(self._width, abs(levels[-1][0] / best - 1))
        if half.is_better(self._furthest, best * (1 - half.sign * reach)):
            self._furthest = best * (1 - half.sign * 2 * reach)
        half.resize = Resize(self._furthest, self.scale, self._large)


class Thickening:
    """Makers of one side bring more near the touch; large orders stay as they are."""

    def __init__(self, venue: Venue, side: Side) -> None:
        self._half, self._large = venue.half(side), venue.large()
        self._furthest = venue.touch(side) * (1 - self._half.sign * _WIDTHS * _width(venue, side))

    def bring(self, times: float) -> None:
        """Let levels hold so many times what they would, in steps of a quarter."""
        times = round(4 * times) / 4
        self._half.resize = Resize(self._furthest, times, self._large)


def _width(venue: Venue, side: Side) -> float:
    """Return how far the best 20 levels of a side reach, as a share of the price."""
    return abs(venue.top(side, _RUNGS)[-1][0] / venue.touch(side) - 1)


class ShapedBook:
    """Both sides of the book, shaped as a whole: where it ends, how wide it gapes, what is left of its levels."""

    def __init__(self, venue: Venue, rng: random.Random, *, deep: bool) -> None:
        self._venue = venue
        self._sides = {side: (_Ladder(venue, side, rng, deep=deep), Withdrawal(venue, side)) for side in Side}

    def shape(self, bid: float, gap: float, left: float) -> None:
        """Let the bids end at `bid`, offers begin `gap` (a share of the price) above, `left` of all depth be left."""
        venue = self._venue
        bid = max(venue.on_grid(bid), venue.bids.reserve())
        ask = max(min(venue.on_grid(bid * (1 + gap)), venue.asks.reserve()), bid + venue.tick)
        for side, best in ((Side.BID, bid), (Side.ASK, ask)):
            ladder, withdrawal = self._sides[side]
            ladder.follow(best)
            withdrawal.leave(left, best)
            ladder.rescale(withdrawal.scale)

    def let_go(self) -> None:
        """Leave the book to the base market again."""
        for ladder, _ in self._sides.values():
            ladder.clear()
        let_go(self._venue)


def let_go(venue: Venue) -> None:
    """Show the base market's levels as they are, but for large orders, whose makers do not come back at once."""
    for side in Side:
        venue.half(side).let_go(_BELOW_LARGE * venue.large())
