"""Prices and quantities as integers: 1 unit is 10⁻⁸, the finest step that Binance Spot knows.

Integers compare, hash and add exactly, so a book can use prices as keys and the decimal text that is
published is the venue's own: Binance writes every price and quantity with 8 decimals.
"""

from decimal import Decimal, InvalidOperation
from typing import Final

DECIMALS: Final = 8
ONE: Final = 10**DECIMALS


def to_units(text: str) -> int:
    """Return decimal text, such as `61837.64000000`, in units.

    Raises:
        ValueError: it is no plain non-negative number, or finer than 8 decimals.
    """
    whole, point, fraction = text.partition(".")
    if point and len(fraction) == DECIMALS and (digits := whole + fraction).isdecimal() and digits.isascii():
        return int(digits)
    return _any_decimal(text)


def _any_decimal(text: str) -> int:
    try:
        scaled = Decimal(text).scaleb(DECIMALS)
        units = int(scaled)
    except (InvalidOperation, ValueError, OverflowError):
        raise ValueError(f"{text!r} is not a decimal number") from None
    if units < 0 or scaled != units:
        raise ValueError(f"{text!r} is not a non-negative number of at most {DECIMALS} decimals")
    return units


def to_text(units: int) -> str:
    """Return units as Binance writes them, with 8 decimals; a sign only where they are negative."""
    sign, units = ("-", -units) if units < 0 else ("", units)
    whole, fraction = divmod(units, ONE)
    return f"{sign}{whole}.{fraction:08d}"
