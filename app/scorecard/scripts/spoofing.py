"""Spoofing, and what merely looks like it.

A spoofer shows large orders that are not meant to trade: placed away from the mid price, taken back before the
market reaches them, again and again on one side. Market makers also take back nearly all that they place,
but near the mid price, on both sides, and because the mid price moved.
"""

import random
from collections.abc import Generator, Sequence
from typing import Final

from app.microstructure.report import Severity
from app.scorecard.half import Half
from app.scorecard.scripts import Script, wait
from app.scorecard.venue import Venue
from producer.exchange.book import Side

NEAR_BPS: Final = (2.0, 6.0)
FAR_BPS: Final = (10.0, 40.0)

# Strength: placements, size as a multiple of the 95th percentile of level quantities.
_SHAPES: Final[dict[Severity, tuple[tuple[int, int], tuple[float, float]]]] = {
    "low": ((5, 6), (3.0, 4.0)),
    "medium": ((7, 10), (4.0, 8.0)),
    "high": ((10, 16), (8.0, 20.0)),
}
_LIFETIME_SEC: Final = (0.4, 5.0)
_PAUSE_SEC: Final = (0.2, 2.0)


def near(venue: Venue, rng: random.Random, strength: Severity) -> Script:
    """Spoof some 2 to 6 bps from the mid price."""
    return _spoof(venue, rng, strength, NEAR_BPS)


def far(venue: Venue, rng: random.Random, strength: Severity) -> Script:
    """Spoof some 10 to 40 bps from the mid price."""
    return _spoof(venue, rng, strength, FAR_BPS)


def _spoof(venue: Venue, rng: random.Random, strength: Severity, bps: tuple[float, float]) -> Script:
    counts, multiples = _SHAPES[strength]
    side = rng.choice((Side.BID, Side.ASK))
    size = venue.large() * rng.uniform(*multiples)
    left = rng.randint(*counts)
    while left > 0:
        layers = min(left, rng.choice((1, 1, 2, 3)))
        left -= layers
        orders = {venue.at_distance(side, rng.uniform(*bps)): size * rng.uniform(0.85, 1.15) for _ in range(layers)}
        yield from _show(venue, side, orders, rng.uniform(*_LIFETIME_SEC))
        yield from wait(venue, rng.uniform(*_PAUSE_SEC))
    return True


def _show(venue: Venue, side: Side, orders: dict[float, float], seconds: float) -> Generator[None, None, None]:
    """Show orders for some time; take them back, all of them sooner where the market comes near one."""
    half, until = venue.half(side), venue.now + int(seconds * 1e9)
    distance = {price: abs(venue.mid() - price) for price in orders}
    for price, qty in orders.items():
        half.put(price, qty)
    while venue.now < until and all(abs(venue.mid() - price) > distance[price] / 2 for price in orders):
        yield
    for price in orders:
        half.put(price, 0.0)


def requotes(venue: Venue, rng: random.Random, _: Severity) -> Script:
    """Make a market: large quotes at the touch on both sides, renewed as it moves and every so often."""
    until = venue.now + int(rng.uniform(20, 40) * 1e9)
    size = venue.large() * rng.uniform(1.2, 3.0)
    behind = rng.randint(0, 3) * venue.tick
    while venue.now < until:
        for side in Side:
            half = venue.half(side)
            _replace(half, {venue.on_grid(venue.touch(side) - half.sign * behind): size * rng.uniform(0.8, 1.2)})
        yield from _until_moved(venue, rng.uniform(0.3, 1.5))
    _clear(venue)
    return True


def ladder(venue: Venue, rng: random.Random, _: Severity) -> Script:
    """Make a market with five steps a side out to some 5 bps, all of them moved when the mid price has."""
    until = venue.now + int(rng.uniform(20, 40) * 1e9)
    size = venue.large() * rng.uniform(1.1, 2.0)
    distances = [step * rng.uniform(0.8, 1.1) for step in range(1, 6)]
    while venue.now < until:
        for side in Side:
            _replace(venue.half(side), {venue.at_distance(side, bps): size for bps in distances})
        yield from _until_moved(venue, rng.uniform(2.0, 5.0), bps=0.5)
    _clear(venue)
    return True


def large_cancels(venue: Venue, rng: random.Random, _: Severity) -> Script:
    """Place a large order or two, and after a while think better of it."""
    for _order in range(rng.randint(1, 2)):
        side = rng.choice((Side.BID, Side.ASK))
        orders = {venue.at_distance(side, rng.uniform(5, 30)): venue.large() * rng.uniform(2, 6)}
        yield from _show(venue, side, orders, rng.uniform(10, 25))
        yield from wait(venue, rng.uniform(2, 6))
    return True


def genuine_depth(venue: Venue, rng: random.Random, _: Severity) -> Script:
    """Bring large orders that stay: of eight, one or two are taken back."""
    side = rng.choice((Side.BID, Side.ASK))
    half, size = venue.half(side), venue.large() * rng.uniform(2, 6)
    prices = [venue.at_distance(side, rng.uniform(4, 40)) for _order in range(8)]
    for price in prices:
        half.put(price, size * rng.uniform(0.85, 1.15))
        yield from wait(venue, rng.uniform(0.5, 3.0))
    for price in rng.sample(prices, rng.randint(1, 2)):
        half.put(price, 0.0)
        yield from wait(venue, rng.uniform(0.5, 3.0))
    return True


def large_traded(venue: Venue, rng: random.Random, _: Severity) -> Script:
    """Place large orders that takers then sweep: their fall is trade, not cancel."""
    side = rng.choice((Side.BID, Side.ASK))
    half, size = venue.half(side), venue.large() * rng.uniform(2, 4)
    for _sweep in range(rng.randint(4, 6)):
        price = venue.at_distance(side, rng.uniform(1.5, 4.0))
        half.put(price, size)
        yield from wait(venue, rng.uniform(0.5, 2.0))
        until = venue.now + int(5e9)
        while half.own(price) > 0 and venue.now < until:
            venue.market_order("sell" if side is Side.BID else "buy", 100 * size, not_beyond=price)
            yield
        half.put(price, 0.0)
        half.restock()
        yield from wait(venue, rng.uniform(1.0, 3.0))
    return True


def _replace(half: Half, orders: dict[float, float]) -> None:
    for price in half.own_prices():
        if price not in orders:
            half.put(price, 0.0)
    for price, qty in orders.items():
        half.put(price, qty)


def _clear(venue: Venue, sides: Sequence[Side] = tuple(Side)) -> None:
    for side in sides:
        _replace(venue.half(side), {})


def _until_moved(venue: Venue, seconds: float, bps: float = 0.0) -> Generator[None, None, None]:
    """Wait until the mid price has moved by more than `bps`, at least one diff and at most `seconds`."""
    mid, until = venue.mid(), venue.now + int(seconds * 1e9)
    yield
    while venue.now < until and abs(venue.mid() / mid - 1) * 1e4 <= bps:
        yield
