"""Depth: the visible levels, their sums and the imbalance between the sides.

imbalance = (Σ bid_qty - Σ ask_qty) / (Σ bid_qty + Σ ask_qty) over the top 20, in [-1, 1]; positive when
buyers rest more. Not known while a side is empty.
"""

from math import fsum

from app.microstructure.book import Levels
from app.microstructure.report import Depth, Level


def depth(bids: Levels, asks: Levels) -> Depth:
    """Return the depth section for the visible levels, best first.

    >>> depth(((99.0, 3.0),), ((101.0, 1.0),)).imbalance
    0.5
    """
    sum_bid = fsum(qty for _, qty in bids) if bids else None
    sum_ask = fsum(qty for _, qty in asks) if asks else None
    imbalance = None
    if sum_bid is not None and sum_ask is not None:
        imbalance = (sum_bid - sum_ask) / (sum_bid + sum_ask)
    return Depth(
        top_bids=tuple([Level(*level) for level in bids]),
        top_asks=tuple([Level(*level) for level in asks]),
        sum_bid=sum_bid,
        sum_ask=sum_ask,
        imbalance=imbalance,
    )
