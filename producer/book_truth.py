"""Is the rebuilt book the exchange's book? Its best bid and ask against those that the exchange itself tells.

Binance's `bookTicker` stream says the best bid and ask with their quantities under an update id, each time
that they change. It shares nothing with diffs and snapshots, so it finds what update ids cannot show: a diff
that lost its levels, a snapshot that was cut off too near, a mistake of ours.

The two are compared at the same update id. A book stands at the final id F of a diff; what held at F is
the newest ticker up to F, and that is certain once a ticker of F itself or of a later id has come. So a
comparison is made at once, or waits for the next ticker. Where no ticker up to F is known, none is made.

Most tickers are never compared (on the recorded tape seven of eight), so a ticker is kept as it came and read only
then.

One difference may come from a ticker that was lost, so a few in a row are needed; a lost ticker is made good
by the next. And a book that the tickers have left behind is not followed at all: every change of the best
is in a diff 100 ms later at most.

Where the exchange begins to count updates again, tickers would stay below the newest for ever, and nothing would be
compared any more. So what was told under the old count is forgotten then (`begun_again`).
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from producer.begun_again import BegunAgain

MISMATCH_LIMIT: Final = 3
PAUSE: Final = 0.5
_KEPT: Final = 4096  # tickers and books that wait for one another: many seconds of the busiest symbol

Best = tuple[int, int, int, int]
"""Bid price, bid quantity, ask price, ask quantity, in any unit that both sides share."""


class BookTruth[Told]:
    """The comparison for one symbol; it holds no clock and no connection."""

    def __init__(self, read: Callable[[Told], Best | None]) -> None:
        """Have `read` say what a ticker tells, `None` where it cannot be read; it is then no ticker."""
        self._read = read
        self.compared = 0
        self.equal = 0
        self._in_a_row = 0
        self._tickers: deque[tuple[int, Told]] = deque(maxlen=_KEPT)
        self._books: deque[tuple[int, Best]] = deque(maxlen=_KEPT)
        self._low = BegunAgain()
        self._book_id: int | None = None
        self._behind = 0.0
        self._ahead_at: float | None = None

    @property
    def wrong(self) -> bool:
        """Whether the book has differed too often in a row to be believed."""
        return self._in_a_row >= MISMATCH_LIMIT

    @property
    def behind(self) -> float:
        """For how many seconds the tickers have been ahead of a book that stands still."""
        return self._behind

    def forget_book(self) -> None:
        """The book is not known any more; the tickers go on."""
        self._books.clear()
        self._book_id = self._ahead_at = None
        self._behind = 0.0
        self._in_a_row = 0

    def forget_all(self) -> None:
        """Both streams were interrupted."""
        self.forget_book()
        self._tickers.clear()

    def on_ticker(self, update_id: int, told: Told, now: float) -> bool:
        """Take the best bid and ask that the exchange tells; what arrives late or twice says nothing.

        Return whether it shows that update ids have begun again.
        """
        begun_again = False
        if self._tickers and update_id <= (newest := self._tickers[-1][0]):
            if update_id == newest or not self._low.note(update_id, newest):
                return False
            begun_again = True
            self.forget_all()
        self._tickers.append((update_id, told))
        if self._book_id is not None and update_id > self._book_id:
            # A pause of ours between two messages says nothing about the exchange, so it counts for little.
            self._behind += 0.0 if self._ahead_at is None else min(now - self._ahead_at, PAUSE)
            self._ahead_at = now
        while self._books and self._books[0][0] <= update_id:
            self._compare(*self._books.popleft())
        return begun_again

    def on_book(self, update_id: int, best: Best) -> None:
        """Take the best bid and ask of the rebuilt book as of `update_id`."""
        self._book_id = update_id
        self._ahead_at = None
        self._behind = 0.0
        if self._tickers and self._tickers[-1][0] >= update_id:
            self._compare(update_id, best)
        else:
            self._books.append((update_id, best))

    def _compare(self, update_id: int, best: Best) -> None:
        while len(self._tickers) > 1 and self._tickers[1][0] <= update_id:
            self._tickers.popleft()
        if not self._tickers or self._tickers[0][0] > update_id:
            return
        told = self._read(self._tickers[0][1])
        if told is None:
            return
        self.compared += 1
        if told == best:
            self.equal += 1
            self._in_a_row = 0
        else:
            self._in_a_row += 1
