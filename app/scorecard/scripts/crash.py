"""The minute before a flash crash, and what merely looks like one.

Three things come together: the spread widens, the book thins out, sellers press harder and harder. Two of them
are a crash risk by definition. One alone is not: a fast market with a deep book, a quiet one with a thin book,
or a fall in which bids give way to sells in good order while offers follow.
"""

import random
from typing import Final

import msgspec

from app.microstructure.events import Side as Aggressor
from app.microstructure.report import Severity
from app.scorecard.half import Half
from app.scorecard.scripts import Script, Writer, wait
from app.scorecard.venue import Venue
from producer.exchange.book import Side

_BEAT_SEC: Final = 0.1


class _Reach(msgspec.Struct, frozen=True):
    """How far a crash goes at its worst.

    `spread_bps` and `spread_ratio`: the spread, at least this many bps and this multiple of the usual one;
    `left`: share of each level's quantity that is left; `volume_ratio`: sold volume, a multiple of all usual trade.
    """

    spread_bps: float
    spread_ratio: float
    left: float
    volume_ratio: float


_REACH: Final[dict[Severity, _Reach]] = {
    "low": _Reach(3.0, 6.0, 0.35, 8.0),
    "medium": _Reach(6.0, 8.0, 0.25, 14.0),
    "high": _Reach(12.0, 12.0, 0.12, 24.0),
}
_FURTHEST_BPS: Final = 150.0
_NEST_BPS: Final = 8.0
_RUNGS: Final = 20


class _Ladder:
    """Orders of ours behind a moving touch, as dense and large as those that were there when the move began.

    `best` may be in front of the base market's touch, which the side's makers have then left behind, or behind it,
    where the base market's own levels are thinner than those around its touch: `deep` fills these up.
    """

    def __init__(self, venue: Venue, side: Side, rng: random.Random, *, deep: bool) -> None:
        self._venue, self._half, self._rng, self._deep = venue, venue.half(side), rng, deep
        top, large = venue.top(side, _RUNGS), venue.large()
        self._sizes = [min(qty, 0.9 * large) for _, qty in top + venue.top(side.opposite, _RUNGS)]
        self._gap = max(venue.tick, abs(top[-1][0] - top[0][0]) / len(top))

    def follow(self, best: float, scale: float = 1.0) -> None:
        """Let the side's best price be `best`; new orders are `scale` of the usual size.

        The makers have come along: their quotes around the base market's touch are not shown any more. Else that
        touch, with all that is placed and cancelled there, would stand far from the mid price.
        """
        half, gap, base = self._half, self._gap, self._half.base_touch()
        in_front = half.sign * (best - base) / base
        half.limit = best if in_front <= 0 else base * (1 - half.sign * min(in_front, _NEST_BPS * 1e-4))
        for price in half.own_prices():
            if half.is_better(price, best):
                half.put(price, 0.0)
        if in_front > 0:
            self._fill(best, half.limit, scale)
        elif self._deep:
            self._fill(best, best - half.sign * _RUNGS * gap, scale)

    def _fill(self, best: float, furthest: float, scale: float) -> None:
        """Place orders where there are none yet, from `best` on and up to `furthest`."""
        half, gap = self._half, self._gap
        standing = half.own_prices()
        if not standing:
            standing = [furthest]
        else:
            self._add(standing[-1] - half.sign * gap, furthest, scale)
        self._add(best, standing[0], scale)

    def _add(self, start: float, end: float, scale: float) -> None:
        price = start
        while self._half.is_better(price, end):
            self._half.put(self._venue.on_grid(price), self._rng.choice(self._sizes) * scale)
            price -= self._half.sign * self._gap * self._rng.uniform(0.5, 1.5)

    def clear(self) -> None:
        """Take all orders back."""
        for price in self._half.own_prices():
            self._half.put(price, 0.0)


def crash(*, spread: bool, thin: bool, flow: bool) -> Writer:
    """Return the script of a crash with these of the three signs."""

    def script(venue: Venue, rng: random.Random, strength: Severity) -> Script:
        return _crash(venue, rng, _Signs(spread, thin, flow), _REACH[strength])

    return script


class _Signs(msgspec.Struct, frozen=True):
    spread: bool
    thin: bool
    flow: bool


def _crash(venue: Venue, rng: random.Random, signs: _Signs, reach: _Reach) -> Script:
    book = _Book(venue, rng, deep=not signs.thin)
    start = venue.touch(Side.BID)
    usual = venue.touch(Side.ASK) / start - 1
    widest = max(reach.spread_bps * 1e-4, reach.spread_ratio * usual) * rng.uniform(1.0, 1.5)
    ramp, hold = rng.uniform(6, 12), rng.uniform(2, 5)
    began, edge = venue.now, start
    while (elapsed := (venue.now - began) / 1e9) < ramp + hold:
        progress = min(1.0, elapsed / ramp)
        scale = 1 - (1 - reach.left) * progress if signs.thin else 1.0
        gap = usual + (widest - usual) * progress if signs.spread else usual
        if signs.flow:
            _sell(venue, rng, reach.volume_ratio * progress**2, lowest=start * (1 - _FURTHEST_BPS * 1e-4))
            edge = min(edge, venue.touch(Side.BID))
        else:
            edge = start * (1 - (gap - usual) / 2)
        if not signs.thin:
            _refill(venue.bids, rng)
        book.shape(edge, gap, scale)
        yield
    began, seconds = venue.now, rng.uniform(5, 10)
    venue.bids.restock()
    while (progress := (venue.now - began) / 1e9 / seconds) < 1:
        risen = edge + (max(edge, venue.bids.base_touch()) - edge) * progress
        book.shape(risen, gap + (usual - gap) * progress, scale + (1 - scale) * progress)
        yield
    book.let_go()
    return True


def _sell(venue: Venue, rng: random.Random, volume_ratio: float, lowest: float) -> None:
    """Sell for a tenth of a second, until the price is as low as it may get."""
    lowest = max(lowest, venue.bids.reserve())
    if venue.touch(Side.BID) > lowest:
        left = venue.volume_per_sec * volume_ratio * _BEAT_SEC * rng.uniform(0.7, 1.3)
        for _order in range(4):
            venue.market_order("sell", left / 4, not_beyond=lowest)


def _refill(half: Half, rng: random.Random) -> None:
    """Let makers fill up what was eaten, some half a second later and to a size of their own."""
    if rng.random() < 2 * _BEAT_SEC:
        half.restock(rng)


class _Book:
    """Both sides of the book, shaped as a whole: where it ends, how wide it gapes, what is left of its levels."""

    def __init__(self, venue: Venue, rng: random.Random, *, deep: bool) -> None:
        self._venue = venue
        self._ladders = {side: _Ladder(venue, side, rng, deep=deep) for side in Side}
        _shape_levels_near_the_touch(venue, 3.0)

    def shape(self, bid: float, gap: float, scale: float) -> None:
        """Let the bids end at `bid`, the offers begin `gap` (a share of the price) above, levels be scaled."""
        venue = self._venue
        venue.bids.scale = venue.asks.scale = scale
        bid = max(venue.on_grid(bid), venue.bids.reserve())
        ask = min(venue.on_grid(bid * (1 + gap)), venue.asks.reserve())
        self._ladders[Side.BID].follow(bid, scale)
        self._ladders[Side.ASK].follow(max(ask, bid + venue.tick), scale)

    def let_go(self) -> None:
        """Leave the book to the base market again."""
        for ladder in self._ladders.values():
            ladder.clear()
        _let_go(self._venue)


def _shape_levels_near_the_touch(venue: Venue, widths: float) -> None:
    """Let `scale` reach over so many times the width of the best 20 levels."""
    for side in Side:
        top = venue.top(side, _RUNGS)
        venue.half(side).reach = widths * abs(top[-1][0] / top[0][0] - 1)


def _let_go(venue: Venue) -> None:
    for side in Side:
        half = venue.half(side)
        half.limit, half.scale = None, 1.0
        half.restock()


def orderly_fall(venue: Venue, rng: random.Random, _: Severity) -> Script:
    """Let the price fall 15 to 40 bps and come back, the book as tight and deep as ever."""
    return _orderly(venue, rng, Side.BID)


def orderly_rally(venue: Venue, rng: random.Random, _: Severity) -> Script:
    """Let the price rise 15 to 40 bps and come back, the book as tight and deep as ever."""
    return _orderly(venue, rng, Side.ASK)


def _orderly(venue: Venue, rng: random.Random, front: Side) -> Script:
    """Push the `front` side back: takers trade through it, its makers give way, the other side follows."""
    half, aggressor, book = venue.half(front), _aggressor_against(front), _Book(venue, rng, deep=True)
    gap = venue.touch(Side.ASK) / venue.touch(Side.BID) - 1
    room = abs(half.reserve() / venue.touch(front) - 1)
    distance, seconds = min(rng.uniform(15, 40) * 1e-4, room), rng.uniform(20, 30)
    began = venue.now
    while (elapsed := (venue.now - began) / 1e9) < 2 * seconds:
        away = 1 - abs(elapsed / seconds - 1)
        edge = venue.on_grid(half.base_touch() * (1 - half.sign * distance * away))
        if elapsed < seconds:
            qty = 2 * venue.volume_per_sec * _BEAT_SEC * rng.uniform(0.5, 1.5)
            venue.market_order(aggressor, qty, not_beyond=edge)
        _refill(half, rng)
        book.shape(edge if front is Side.BID else edge * (1 - gap), gap, 1.0)
        yield
    book.let_go()
    return True


def _aggressor_against(side: Side) -> Aggressor:
    return "sell" if side is Side.BID else "buy"


def fast_and_deep(venue: Venue, rng: random.Random, _: Severity) -> Script:
    """Trade ten times as often, mostly sells and more and more of them, against a book two or three times as deep."""
    _shape_levels_near_the_touch(venue, 1.2)
    deep, seconds = rng.uniform(2, 3), rng.uniform(15, 25)
    began = venue.now
    while (progress := (venue.now - began) / 1e9 / seconds) < 1:
        swell = min(1.0, 4 * progress, 4 * (1 - progress))
        venue.bids.scale = venue.asks.scale = 1 + (deep - 1) * swell
        for _order in range(rng.randint(3, 6)):
            aggressor: Aggressor = "sell" if rng.random() < 0.6 + 0.3 * progress else "buy"
            venue.market_order(aggressor, venue.trade_qty * rng.uniform(0.3, 2.0))
        _refill(venue.bids, rng)
        _refill(venue.asks, rng)
        yield
    _let_go(venue)
    return True


def thin_only(venue: Venue, rng: random.Random, _: Severity) -> Script:
    """Let makers withdraw most of the book in quiet, the touch as tight as ever."""
    _shape_levels_near_the_touch(venue, 3.0)
    left, seconds = rng.uniform(0.15, 0.4), rng.uniform(15, 25)
    began = venue.now
    while (progress := (venue.now - began) / 1e9 / seconds) < 1:
        swell = min(1.0, 4 * progress, 4 * (1 - progress))
        venue.bids.scale = venue.asks.scale = 1 - (1 - left) * swell
        yield
    _let_go(venue)
    return True


def wide_only(venue: Venue, rng: random.Random, _: Severity) -> Script:
    """Let the spread be wide for a while, the book behind it as deep as ever and nobody in a hurry."""
    for _time in range(rng.randint(2, 4)):
        mid, usual = venue.mid(), venue.touch(Side.ASK) / venue.touch(Side.BID) - 1
        wide = max(rng.uniform(3, 8) * 1e-4, 8 * usual)
        venue.bids.limit, venue.asks.limit = venue.on_grid(mid * (1 - wide / 2)), venue.on_grid(mid * (1 + wide / 2))
        yield from wait(venue, rng.uniform(2, 6))
        venue.bids.limit = venue.asks.limit = None
        yield from wait(venue, rng.uniform(1, 3))
    return True
