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
from app.scorecard.scripts import Script, Writer
from app.scorecard.scripts.shape import ShapedBook, Thickening, Withdrawal, let_go, refill
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
    book = ShapedBook(venue, rng, deep=not signs.thin)
    start = venue.touch(Side.BID)
    usual = venue.usual_spread
    widest = max(reach.spread_bps * 1e-4, reach.spread_ratio * usual) * rng.uniform(1.0, 1.5)
    ramp, hold = rng.uniform(6, 12), rng.uniform(2, 5)
    began, edge = venue.now, start
    while (elapsed := (venue.now - began) / 1e9) < ramp + hold:
        progress = min(1.0, elapsed / ramp)
        left = 1 - (1 - reach.left) * progress if signs.thin else 1.0
        gap = usual + (widest - usual) * progress if signs.spread else usual
        if signs.flow:
            _sell(venue, rng, reach.volume_ratio * progress**2, lowest=start * (1 - _FURTHEST_BPS * 1e-4))
            edge = min(edge, venue.touch(Side.BID))
        else:
            edge = start * (1 - (gap - usual) / 2)
        refill(venue.asks, rng)
        if not (signs.thin and signs.flow):
            refill(venue.bids, rng)
        book.shape(edge, gap, left)
        yield
    began, seconds = venue.now, rng.uniform(5, 10)
    venue.bids.restock()
    while (progress := (venue.now - began) / 1e9 / seconds) < 1:
        risen = edge + (max(edge, venue.bids.base_touch()) - edge) * progress
        book.shape(risen, gap + (usual - gap) * progress, left + (1 - left) * progress)
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


def orderly_fall(venue: Venue, rng: random.Random, _: Severity) -> Script:
    """Let the price fall 15 to 40 bps and come back, the book as tight and deep as ever."""
    return _orderly(venue, rng, Side.BID)


def orderly_rally(venue: Venue, rng: random.Random, _: Severity) -> Script:
    """Let the price rise 15 to 40 bps and come back, the book as tight and deep as ever."""
    return _orderly(venue, rng, Side.ASK)


def _orderly(venue: Venue, rng: random.Random, front: Side) -> Script:
    """Push the `front` side back: takers trade through it, its makers give way, the other side follows."""
    half, aggressor, book = venue.half(front), _aggressor_against(front), ShapedBook(venue, rng, deep=True)
    gap = venue.usual_spread
    room = abs(half.reserve() / venue.touch(front) - 1)
    distance, seconds = min(rng.uniform(15, 40) * 1e-4, room), rng.uniform(20, 30)
    began = venue.now
    while (elapsed := (venue.now - began) / 1e9) < 2 * seconds:
        away = 1 - abs(elapsed / seconds - 1)
        edge = venue.on_grid(half.base_touch() * (1 - half.sign * distance * away))
        if elapsed < seconds:
            qty = 2 * venue.volume_per_sec * _BEAT_SEC * rng.uniform(0.5, 1.5)
            venue.market_order(aggressor, qty, not_beyond=edge)
        for each in Side:
            refill(venue.half(each), rng)
        book.shape(edge if front is Side.BID else edge * (1 - gap), gap, 1.0)
        yield
    book.let_go()
    return True


def _aggressor_against(side: Side) -> Aggressor:
    return "sell" if side is Side.BID else "buy"


def fast_and_deep(venue: Venue, rng: random.Random, _: Severity) -> Script:
    """Trade ten times as often, mostly sells and more and more of them, against a book two or three times as deep."""
    deep, seconds = rng.uniform(2, 3), rng.uniform(15, 25)
    sides = [Thickening(venue, side) for side in Side]
    began = venue.now
    while (progress := (venue.now - began) / 1e9 / seconds) < 1:
        swell = min(1.0, 4 * progress, 4 * (1 - progress))
        for makers in sides:
            makers.bring(1 + (deep - 1) * swell)
        for _order in range(rng.randint(3, 6)):
            aggressor: Aggressor = "sell" if rng.random() < 0.6 + 0.3 * progress else "buy"
            venue.market_order(aggressor, venue.trade_qty * rng.uniform(0.3, 2.0))
        refill(venue.bids, rng)
        refill(venue.asks, rng)
        yield
    let_go(venue)
    return True


def thin_only(venue: Venue, rng: random.Random, _: Severity) -> Script:
    """Let makers withdraw most of the book in quiet, the touch as tight as ever."""
    left, seconds = rng.uniform(0.15, 0.4), rng.uniform(15, 25)
    makers = {side: Withdrawal(venue, side) for side in Side}
    began = venue.now
    while (progress := (venue.now - began) / 1e9 / seconds) < 1:
        swell = min(1.0, 4 * progress, 4 * (1 - progress))
        for side, withdrawal in makers.items():
            withdrawal.leave(1 - (1 - left) * swell, venue.half(side).base_touch())
            refill(venue.half(side), rng)
        yield
    let_go(venue)
    return True


def wide_only(venue: Venue, rng: random.Random, _: Severity) -> Script:
    """Let the spread be wide for a while, the book behind it as deep as ever and nobody in a hurry."""
    book = ShapedBook(venue, rng, deep=True)
    for _time in range(rng.randint(2, 4)):
        bid, usual = venue.touch(Side.BID), venue.usual_spread
        wide = max(rng.uniform(3, 8) * 1e-4, 8 * usual)
        for gap, seconds in ((wide, rng.uniform(2, 6)), (usual, rng.uniform(1, 3))):
            until = venue.now + int(seconds * 1e9)
            while venue.now < until:
                book.shape(bid * (1 - (gap - usual) / 2), gap, 1.0)
                refill(venue.bids, rng)
                refill(venue.asks, rng)
                yield
    book.let_go()
    return True
