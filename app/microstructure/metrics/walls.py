"""Walls: visible levels of outstanding size.

A level is a wall if its quantity is at least 1.5 × P95 of the quantity history. The ratio to that threshold
grades it: 3 and more is high, 2 and more medium, anything else low.
"""

from typing import Final, Literal

import msgspec

from app.microstructure.book import Levels
from app.microstructure.report import Severity, Wall

# Doubles put 1.5 × 0.1 above 0.15. A ratio this close to a limit is on it in decimals.
_DIGITS: Final = 9


class WallParams(msgspec.Struct, frozen=True):
    """Thresholds as multiples: `factor` of P95, the grades of `factor` × P95."""

    factor: float = 1.5
    medium: float = 2.0
    high: float = 3.0


_DEFAULTS: Final = WallParams()


def walls(bids: Levels, asks: Levels, p95: float, params: WallParams = _DEFAULTS) -> tuple[Wall, ...]:
    """Return the walls among the visible levels (best first): bids, then asks, each from the touch outwards.

    >>> walls(((99.0, 1.0), (98.0, 9.0)), ((101.0, 3.0),), p95=2.0)
    (Wall(side='bid', price=98.0, qty=9.0, severity='high'), Wall(side='ask', price=101.0, qty=3.0, severity='low'))
    """
    return (*_side("bid", bids, p95, params), *_side("ask", asks, p95, params))


def _side(side: Literal["bid", "ask"], levels: Levels, p95: float, params: WallParams) -> list[Wall]:
    threshold = params.factor * p95
    ratios = [(price, qty, round(qty / threshold, _DIGITS)) for price, qty in levels]
    return [Wall(side, price, qty, _severity(ratio, params)) for price, qty, ratio in ratios if ratio >= 1]


def _severity(ratio: float, params: WallParams) -> Severity:
    if ratio >= params.high:
        return "high"
    return "medium" if ratio >= params.medium else "low"
