"""One symbol's book, followed from its stream's beginning to its end, and what is sent on of it.

`book_sync` says what each message means, `book_truth` whether the outcome is the exchange's book; here their
words become NautilusTrader data, timers and requests. Every way to lose the book ends in the same place: a
CLEAR without levels at once, then a new snapshot as soon as it can be a true one.

| what happened                               | reason       | the snapshot is fetched                        |
|---------------------------------------------|--------------|------------------------------------------------|
| diffs are missing                           | `gap`        | at once                                        |
| update ids of diffs or tickers begin again  | `ids_behind` | at once                                        |
| bid ≥ ask after a diff, which is not sent   | `crossed`    | at once                                        |
| someone further on lost an event            | theirs       | at once                                        |
| best bid or ask differ, again and again     | `mismatch`   | at once; if it happens again, after a pause    |
| diffs stay away, other streams go on        | `behind`     | with the next diff                             |
| the connection is lost                      | `disconnect` | when the streams come in again                 |
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from nautilus_trader.model.book import OrderBook
from nautilus_trader.model.data import BookOrder, OrderBookDeltas
from nautilus_trader.model.enums import BookType
from nautilus_trader.model.identifiers import InstrumentId

from producer import backoff, messages
from producer.begun_again import BegunAgain
from producer.book_sync import IDS_BEHIND, Apply, BookSync, Fetch, Replace, Step, Unknown
from producer.book_truth import Best, BookTruth
from producer.exchange_clock import ExchangeClock
from producer.metrics import Metrics
from producer.stream_watch import StreamWatch
from producer.timing import Timing

_EQUAL_AGAIN: Final = 20  # comparisons that must be equal before a mismatch counts as the first one

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Change:
    """A diff as it will be sent on; `deltas` is `None` where no level changed."""

    first_update_id: int
    final_update_id: int
    ts_event: int
    deltas: OrderBookDeltas | None


@dataclass(frozen=True, slots=True)
class Whole:
    """A snapshot whose numbers have been read, so that nothing can fail when it is sent on."""

    last_update_id: int
    levels: list[BookOrder]
    ts_init: int


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the books of a client share.

    Attributes:
        send: takes what is sent on.
        fetch: asks for a symbol's snapshot once; `None` if none came.
        wall_ns: the local time in nanoseconds.
    """

    send: Callable[[OrderBookDeltas], None]
    fetch: Callable[[str], Awaitable[Whole | None]]
    wall_ns: Callable[[], int]
    metrics: Metrics
    timing: Timing


class FollowedBook:
    """The book of one symbol; needs a running event loop."""

    def __init__(self, symbol: str, instrument_id: InstrumentId, around: Surroundings) -> None:
        self.symbol = symbol
        self.instrument_id = instrument_id
        self.clock = ExchangeClock()
        self.truth: BookTruth[bytes] = BookTruth(self._told)
        self.watch = StreamWatch()
        self.low_trade_ids = BegunAgain()
        self._around = around
        self._timing = around.timing
        self._sync: BookSync[Change, Whole] = BookSync()
        self._sent = OrderBook(instrument_id, BookType.L2_MBP)
        self._sent_best: Best | None = None
        self._following = False
        self._first_diff = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._unknown_since: float | None = time.monotonic()
        self._equal_before = 0
        self._pauses = backoff.delays(self._timing.snapshot_first, self._timing.snapshot_longest)

    @property
    def update_id(self) -> int | None:
        """The update at which the book stands, `None` while it is not known."""
        return self._sync.update_id

    @property
    def unknown_for(self) -> float:
        """For how many seconds the book has not been known; 0 while it is."""
        return 0.0 if self._unknown_since is None else time.monotonic() - self._unknown_since

    def observe(self, event_time_ms: int) -> None:
        """Take the time of an event that has just arrived."""
        self.clock.observe(event_time_ms * messages.NANOS_PER_MS, time.monotonic_ns())

    def stream_ready(self) -> None:
        """Begin, now that whatever the exchange publishes comes in."""
        self._pause()
        self.truth.forget_all()
        self._start_task(self._begin, 0.0, self._timing.first_diff)

    def stream_lost(self) -> None:
        """Give the book up until the stream is ready again."""
        self.truth.forget_all()
        self._suspend("disconnect")

    def resync(self, reason: str) -> None:
        """Give the book up and fetch it anew; nothing happens before it is followed."""
        if self._following:
            self._perform(self._sync.lose(reason))

    def close(self) -> None:
        """End what is under way, without a word."""
        self._pause()

    def on_diff(self, change: Change) -> None:
        """Take the next diff of the stream.

        Raises:
            Exception: it could not be sent on; the book is given up then, as for any diff that is missing.
        """
        self._first_diff.set()
        try:
            self._perform(self._sync.on_diff(change))
        except Exception:
            self._suspend("error")
            self._start_task(self._begin, 0.0, self._timing.first_diff)
            raise
        self._judge()

    def on_ticker(self, update_id: int, raw: bytes) -> None:
        """Take the exchange's own word on the best bid and ask, the message as it came."""
        self.watch.on_best(update_id)
        if self.truth.on_ticker(update_id, raw, time.monotonic()):
            if self._following:
                self._perform(self._sync.lose(IDS_BEHIND))  # the book counts as the tickers do
            else:
                self.ids_began_again("update", self._sync.last_known)
        elif self.truth.behind > self._timing.behind:
            self.left_behind()
        else:
            self._judge()

    def left_behind(self) -> None:
        """Give the book up until a diff comes again: a snapshot would be out of date at once, too."""
        if self._following:
            self._suspend("behind")
            self._start_task(self._begin, 0.0, None)

    def ids_began_again(self, ids: str, last: int) -> None:
        """Say that the exchange numbers again: `ids` is `trade` or `update`, `last` the last of before."""
        self._around.metrics.ids_began_again(self.symbol, ids)
        log.warning("%s ids of %s begin again, after %d", ids, self.symbol, last, extra={"symbol": self.symbol})

    def _told(self, raw: bytes) -> Best | None:
        try:
            return messages.best(raw)
        except Exception as error:
            self._around.metrics.error("client", error)
            log.exception("best bid and ask of %s not understood: %.200r", self.symbol, raw)
            return None

    def _judge(self) -> None:
        if not self.truth.wrong:
            return
        # If the ticker were at fault, snapshots would not help: better not known than in doubt, and no storm.
        first = self.truth.equal - self._equal_before >= _EQUAL_AGAIN
        if first:
            self._pauses = backoff.delays(self._timing.snapshot_first, self._timing.snapshot_longest)
        self._equal_before = self.truth.equal
        self._suspend("mismatch")
        self._start_task(self._begin, 0.0 if first else next(self._pauses), self._timing.first_diff)

    def _suspend(self, reason: str) -> None:
        followed = self._following
        self._pause()
        if followed:
            self._perform(self._sync.stop(reason))

    def _pause(self) -> None:
        self._following = False
        self._first_diff.clear()
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _begin(self, pause: float, patience: float | None) -> None:
        await asyncio.sleep(pause)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._first_diff.wait(), patience)
        self._following = True
        self._perform(self._sync.start())

    def _start_task(self, work: Callable[..., Awaitable[None]], *arguments: float | None) -> None:
        async def guarded() -> None:
            try:
                await work(*arguments)
            except Exception as error:
                # A mistake of ours, and nobody else would fetch this book again.
                self._around.metrics.error("client", error)
                log.exception("book of %s not fetched", self.symbol, extra={"symbol": self.symbol})
                self._perform(self._sync.stop("error"))
                self._start_task(self._begin, self._timing.snapshot_longest, None)

        self._task = asyncio.create_task(guarded(), name=f"book of {self.symbol}")

    def _perform(self, steps: list[Step[Change, Whole]]) -> None:
        for step in steps:
            match step:
                case Apply(change):
                    if not self._apply(change):
                        return
                case Replace(whole, continued_by):
                    self._send_snapshot(whole, continued_by)
                case Unknown(reason, update_id):
                    self._send_unknown(reason, update_id)
                case Fetch():
                    self._start_task(self._fetch)

    def _apply(self, change: Change) -> bool:
        """Send a diff on, unless the book could not be true with it."""
        if change.deltas is not None:
            self._sent.apply_deltas(change.deltas)
        best = self._best()
        if best is not None:
            if best[0] >= best[2]:
                self._perform(self._sync.lose("crossed"))
                return False
            self.truth.on_book(change.final_update_id, best)
            if best != self._sent_best:
                self._sent_best = best
                self.watch.on_best_moved(change.first_update_id)
        if change.deltas is not None:
            self._around.send(change.deltas)
        return True

    def _best(self) -> Best | None:
        book = self._sent
        bid, ask = book.best_bid_price(), book.best_ask_price()
        if bid is None or ask is None:
            return None
        return bid.raw, book.best_bid_size().raw, ask.raw, book.best_ask_size().raw

    def _send_unknown(self, reason: str, update_id: int) -> None:
        if reason == IDS_BEHIND:
            self.ids_began_again("update", update_id)
            self.truth.forget_all()  # what was told under the old count says nothing of the new book
        else:
            self.truth.forget_book()
        self._sent.reset()
        if self._unknown_since is None:
            self._unknown_since = time.monotonic()
        self._around.metrics.resync(self.symbol, reason)
        level = logging.INFO if reason == "start" else logging.WARNING
        log.log(level, "book of %s not known (%s)", self.symbol, reason, extra={"symbol": self.symbol})
        now, wall = time.monotonic_ns(), self._around.wall_ns()
        self.clock.assume(wall, now)  # only where the exchange has told no time yet
        self._around.send(messages.replacement(self.instrument_id, [], update_id, self.clock.now(now), wall))

    def _send_snapshot(self, whole: Whole, continued_by: Change | None) -> None:
        # The clock would put the snapshot after diffs that were kept for it and are sent after it.
        ts_event = continued_by.ts_event if continued_by else self.clock.now(time.monotonic_ns())
        update_id = whole.last_update_id
        log.info("book of %s known at update %d", self.symbol, update_id, extra={"symbol": self.symbol})
        deltas = messages.replacement(self.instrument_id, whole.levels, update_id, ts_event, whole.ts_init)
        self._unknown_since = None
        self._sent.apply_deltas(deltas)
        best = self._best()
        self._sent_best = best
        if best is not None:
            self.truth.on_book(update_id, best)
        self._around.send(deltas)

    async def _fetch(self) -> None:
        for delay in backoff.delays(self._timing.snapshot_first, self._timing.snapshot_longest):
            whole = await self._around.fetch(self.symbol)
            if whole is not None:
                steps = self._sync.on_snapshot(whole)
                if Fetch() not in steps:
                    self._perform(steps)
                    return
            await asyncio.sleep(delay)
