"""Level 1: best bid and ask, mid, spread and micro-price.

mid = (bid + ask) / 2; spread_bps = (ask - bid) / mid · 10⁴; micro = (bid · ask_qty + ask · bid_qty) /
(bid_qty + ask_qty): the mid weighted towards the side that is about to give way
(Gatheral and Oomen, "Zero-intelligence realized variance estimation", 2010).
"""

import msgspec

from app.microstructure.book import Levels
from app.microstructure.report import Level


class Level1(msgspec.Struct, frozen=True):
    """Prices in quote units, spread in basis points; `None` where a side is empty."""

    best_bid: Level | None = None
    best_ask: Level | None = None
    mid_price: float | None = None
    spread_bps: float | None = None
    micro_price: float | None = None


def level1(bids: Levels, asks: Levels) -> Level1:
    """Return level 1 of a book that is not crossed.

    >>> level1(((99.0, 3.0),), ((101.0, 1.0),)).micro_price
    100.5
    """
    bid = Level(*bids[0]) if bids else None
    ask = Level(*asks[0]) if asks else None
    if bid is None or ask is None:
        return Level1(best_bid=bid, best_ask=ask)
    mid = (bid.price + ask.price) / 2
    micro = (bid.price * ask.qty + ask.price * bid.qty) / (bid.qty + ask.qty)
    return Level1(
        best_bid=bid,
        best_ask=ask,
        mid_price=mid,
        spread_bps=(ask.price - bid.price) / mid * 1e4,
        # Rounding may carry the weighted mean a last digit past the ends it lies between.
        micro_price=min(max(micro, bid.price), ask.price),
    )
