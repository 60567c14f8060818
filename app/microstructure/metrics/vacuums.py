"""Vacuums: stretches of the visible book where next to nothing rests.

A vacuum is a run of at least 3 consecutive visible levels of one side, each with less than P10 of the quantity
history. Its length grades it: 10 levels and more is high, 6 and more medium, anything else low. Consecutive means
next to each other in the book: prices at which nothing rests are no levels and do not end a run.
"""

from typing import Final

import msgspec

from app.microstructure.book import Levels
from app.microstructure.report import Severity, Vacuum


class VacuumParams(msgspec.Struct, frozen=True):
    """Lengths in levels: the shortest run that counts, and where the grades begin."""

    shortest: int = 3
    medium: int = 6
    high: int = 10


_DEFAULTS: Final = VacuumParams()


def vacuums(bids: Levels, asks: Levels, p10: float, params: VacuumParams = _DEFAULTS) -> tuple[Vacuum, ...]:
    """Return the vacuums among the visible levels (best first): bids, then asks, each from the touch outwards.

    `from_` is the price of the run nearest to the touch, `to` the farthest: below `from_` on the bid side.

    >>> vacuums(((99.0, 5.0), (98.0, 0.1), (97.0, 0.2), (96.0, 0.1)), (), p10=0.5)
    (Vacuum(from_=98.0, to=96.0, severity='low'),)
    """
    return (*_side(bids, p10, params), *_side(asks, p10, params))


def _side(levels: Levels, p10: float, params: VacuumParams) -> list[Vacuum]:
    found: list[Vacuum] = []
    run: list[float] = []
    for price, qty in (*levels, (0.0, p10)):  # the level added is not thin and ends the last run
        if qty < p10:
            run.append(price)
            continue
        if len(run) >= params.shortest:
            found.append(Vacuum(run[0], run[-1], _severity(len(run), params)))
        run = []
    return found


def _severity(length: int, params: VacuumParams) -> Severity:
    if length >= params.high:
        return "high"
    return "medium" if length >= params.medium else "low"
