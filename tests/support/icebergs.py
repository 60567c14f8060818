"""A market that iceberg tests play in: a best bid, and fills that it survives."""

from app.microstructure.metrics.iceberg import (
    Iceberg,
    IcebergParams,
)
from support.book_feed import BookFeed
from support.markets import SECOND

MS = SECOND // 1000
DEFAULTS = IcebergParams()
BID = 99.99


def market(params: IcebergParams = DEFAULTS, tip: float = 2.0) -> tuple[BookFeed, Iceberg]:
    """Return a market with a best bid of `tip`, and a detector."""
    feed = BookFeed()
    detector = Iceberg(feed.visible, params)
    feed.listen(detector.update)
    feed.later(1).set([(BID, tip)])
    return feed, detector


def fill(feed: BookFeed, qty: float = 1.0, left: float | None = 2.0, price: float = BID) -> None:
    """Let a trade happen, and 100 ms later a book event that shows `left`; `None` does not mention the level."""
    feed.later(0.4)
    feed.trade(price, qty)
    feed.later(0.1).set([] if left is None else [(price, left)])
