"""The anomaly detectors of one symbol, fed together.

The book is sampled for flash-crash risk once for each whole second of event time that the stream crosses, so
that findings do not depend on how often anybody asks for them.
"""

from collections.abc import Callable

import msgspec

from app.microstructure.book import BookChange, OrderBook
from app.microstructure.events import MAX_DEPTH_LEVELS, TradeTick
from app.microstructure.metrics.flash_crash import FlashCrash, FlashCrashState, MarketSample
from app.microstructure.metrics.iceberg import Iceberg, IcebergState
from app.microstructure.metrics.spoofing import Spoofing, SpoofingState
from app.microstructure.report import Anomaly
from app.microstructure.rfc3339 import NANOS_PER_SECOND


class DetectorsState(msgspec.Struct, frozen=True, array_like=True):
    """Everything the detectors know, as values."""

    second: int
    spoofing: SpoofingState
    iceberg: IcebergState
    flash_crash: FlashCrashState


class Detectors:
    """Spoofing, icebergs and flash-crash risk; `large` tells what a large order is, `None` if not known yet."""

    def __init__(self, book: OrderBook, large: Callable[[], float | None]) -> None:
        self._book = book
        self._large = large
        self._second = 0
        self._spoofing = Spoofing(large)
        self._iceberg = Iceberg(book.quantity)
        self._flash_crash = FlashCrash()

    def trade(self, trade: TradeTick) -> None:
        """Take a trade into account."""
        self._spoofing.update(trade)
        self._iceberg.update(trade)
        self._flash_crash.update(trade)

    def change(self, change: BookChange) -> None:
        """Take what happened to the book into account."""
        self._spoofing.update(change)
        self._iceberg.update(change)

    def tick(self, ts_event: int) -> None:
        """Sample the book if the newest event time, `ts_event`, is in a second not seen before."""
        second = ts_event // NANOS_PER_SECOND
        if second <= self._second:
            return
        self._second = second
        bids, asks = self._book.top(MAX_DEPTH_LEVELS)
        if bids and asks:
            mid = (bids[0][0] + asks[0][0]) / 2
            spread_bps = (asks[0][0] - bids[0][0]) / mid * 1e4
            bid_depth, ask_depth = sum([qty for _, qty in bids]), sum([qty for _, qty in asks])
            self._flash_crash.update(MarketSample(ts_event, spread_bps, bid_depth, ask_depth, mid))

    def hold(self, at: int | None) -> None:
        """Keep what is remembered at `at`, whatever comes; `None`: no longer."""
        self._spoofing.hold(at)
        self._flash_crash.hold(at)

    def rewind(self, to: int) -> None:
        """Let what was stamped later than `to` have happened at `to`: that time was wrong."""
        self._second = min(self._second, to // NANOS_PER_SECOND - 1)
        self._spoofing.rewind(to)
        self._iceberg.rewind(to)
        self._flash_crash.rewind(to)

    def anomalies(self, as_of: int) -> tuple[Anomaly, ...] | None:
        """Return what is found at `as_of`; `None` until it is known what a large order is."""
        if self._large() is None:
            return None
        return self._spoofing.value(as_of) + self._iceberg.value(as_of) + self._flash_crash.value(as_of)

    def snapshot(self) -> bytes:
        """Return the whole state as JSON: unlike MessagePack's, its integers may outgrow 64 bits."""
        return msgspec.json.encode(
            DetectorsState(
                self._second, self._spoofing.snapshot(), self._iceberg.snapshot(), self._flash_crash.snapshot()
            )
        )

    @classmethod
    def restore(cls, packed: bytes, book: OrderBook, large: Callable[[], float | None]) -> "Detectors":
        """Return detectors that go on where `packed` was taken, on a restored `book`."""
        state = msgspec.json.decode(packed, type=DetectorsState)
        detectors = cls(book, large)
        detectors._second = state.second
        detectors._spoofing = Spoofing.restore(state.spoofing, large)
        detectors._iceberg = Iceberg.restore(state.iceberg, book.quantity)
        detectors._flash_crash = FlashCrash.restore(state.flash_crash)
        return detectors
