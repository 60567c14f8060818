"""A market that spoofing tests play in: orders shown and taken back, above a large size that is known."""

from collections.abc import Sequence

from app.microstructure.metrics.spoofing import Spoofing, SpoofingParams
from support.book_feed import BookFeed
from support.markets import SECOND

LARGE = 2.0
MS = SECOND // 1000
DEFAULTS = SpoofingParams()
Levels = Sequence[tuple[float, float]]

FIVE_BIDS = [(99.88, 6.0), (99.84, 6.5), (99.80, 7.0), (99.75, 7.5), (99.70, 8.0)]
FIVE_ASKS = [(100.12, 6.0), (100.16, 6.5), (100.20, 7.0), (100.25, 7.5), (100.30, 8.0)]


def watched(params: SpoofingParams = DEFAULTS, seconds: float = 61) -> tuple[BookFeed, Spoofing]:
    """Return a market and a detector that knows its sizes by now."""
    feed, detector = BookFeed(), Spoofing(lambda: LARGE, params)
    feed.listen(detector.update)
    feed.later(seconds).set()
    return feed, detector


def show(feed: BookFeed, bids: Levels = (), asks: Levels = (), *, seconds: float = 3.0, settle: float = 1.0) -> None:
    """Place orders all at once, take them back all at once, and let that count."""
    feed.set(bids, asks)
    feed.later(seconds).set([(price, 0.0) for price, _ in bids], [(price, 0.0) for price, _ in asks])
    feed.later(settle).set()
