"""Icebergs, and what merely looks like one.

An iceberg shows a small tip of a large order; what takers take of the tip is put back at once, so that trade
after trade goes through one price and the quantity there hardly changes. A large resting order also hardly
changes under small trades, and a level can be filled up again by others, but not to the same size.
"""

import random
from collections.abc import Callable
from typing import Final

from app.microstructure.events import Side as Aggressor
from app.microstructure.report import Severity
from app.scorecard.scripts import Script
from app.scorecard.venue import Venue
from producer.exchange.book import Side

FILLS: Final[dict[Severity, tuple[int, int]]] = {"low": (6, 7), "medium": (9, 12), "high": (16, 24)}
NOISE: Final = 0.045
"""Two tips that each miss the mean by this much are still within 10 % of each other."""

RAGGED_NOISE: Final = 0.09
_INTERVAL_SEC: Final = (0.2, 1.2)
_TIP: Final = (0.2, 0.6)  # of the 95th percentile of level quantities
_TRIES: Final = 4
_GIVE_UP_BPS: Final = 1.5
_ENOUGH: Final = 6  # one more than the definition asks for

Refill = Callable[[], float]
"""The quantity to show after a fill."""


def exact(venue: Venue, rng: random.Random, strength: Severity) -> Script:
    """Put back exactly the tip."""
    return _iceberg(venue, rng, strength, 0.0)


def noisy(venue: Venue, rng: random.Random, strength: Severity) -> Script:
    """Put back the tip give or take 4.5 %."""
    return _iceberg(venue, rng, strength, NOISE)


def ragged(venue: Venue, rng: random.Random, strength: Severity) -> Script:
    """Put back the tip give or take 9 %: the edge of the definition."""
    return _iceberg(venue, rng, strength, RAGGED_NOISE)


def _iceberg(venue: Venue, rng: random.Random, strength: Severity, noise: float) -> Script:
    tip = max(venue.large() * rng.uniform(*_TIP), 20 * venue.step)
    return _at_one_price(
        venue,
        rng,
        fills=rng.randint(*FILLS[strength]),
        refill=lambda: tip * (1 + rng.uniform(-noise, noise)),
        taken=lambda: tip * rng.uniform(0.3, 0.9),
    )


def refilled(venue: Venue, rng: random.Random, _: Severity) -> Script:
    """Have a level emptied and filled again by one maker after the other, each with a size of its own."""
    usual = venue.large() * rng.uniform(*_TIP)
    return _at_one_price(
        venue,
        rng,
        fills=rng.randint(8, 16),
        refill=lambda: usual * rng.lognormvariate(0.0, 0.6),
        taken=lambda: 10 * usual,
    )


def resting(venue: Venue, rng: random.Random, _: Severity) -> Script:
    """Hit a large order at the touch with small trades, 8 % of it in all, and put nothing back."""
    fills = rng.randint(10, 20)
    size = max(venue.large() * rng.uniform(4, 8), 1000 * venue.step)
    return _at_one_price(venue, rng, fills=fills, refill=lambda: size, taken=lambda: 0.08 * size / fills, once=True)


def _at_one_price(
    venue: Venue, rng: random.Random, *, fills: int, refill: Refill, taken: Refill, once: bool = False
) -> Script:
    """Rest at the touch until takers have come `fills` times; begin anew where the market walks away."""
    side = rng.choice((Side.BID, Side.ASK))
    for _try in range(_TRIES):
        side = side.opposite  # what walks away from one side leans on the other
        half, aggressor = venue.half(side), _against(side)
        done, price, tip = 0, venue.touch(side), refill()
        half.put(price, tip)
        # The level is ours alone, and nobody steps in front of it.
        half.limit = venue.on_grid(price - half.sign * venue.tick)
        yield
        next_fill = venue.now
        while done < fills and half.own(price) > 0 and _near(venue, side):
            if venue.now >= next_fill:
                done += venue.market_order(aggressor, taken(), not_beyond=price) > 0
                next_fill = venue.now + int(rng.uniform(*_INTERVAL_SEC) * 1e9)
            if half.own(price) < tip and not once:
                tip = refill()
                half.put(price, tip)
            yield
        half.put(price, 0.0)
        half.limit = None
        if done >= min(fills, _ENOUGH):
            return True
        yield
    return False


def _against(side: Side) -> Aggressor:
    return "sell" if side is Side.BID else "buy"


def _near(venue: Venue, side: Side) -> bool:
    spread = venue.touch(Side.ASK) - venue.touch(Side.BID)
    return spread <= max(4 * venue.tick, venue.mid() * _GIVE_UP_BPS * 1e-4)
