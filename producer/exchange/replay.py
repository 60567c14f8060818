"""The recorded market: a tape played in real time, or faster, with a book of its own.

*Start.* The tape waits for a listener: its clock starts `start_delay_ns` after the latest subscription, so a
client that subscribes to its streams one after the other misses none of the head. Until then the book is the
one that the tape begins with. Once it runs it waits for nobody.

*Time.* Tape time maps to the server's time in a straight line of slope `speed`. A message is due when its
receive time has come; its event times move along the same line, after the two clocks of the recording have
been brought together (the fastest message takes no time), so delays and distances in time are kept and no
event time is in the future. With `keep_times` the event times stay as recorded.

*Book.* A snapshot of the tape lies behind some diffs that come before it on the tape. The book starts as
that snapshot and passes over what it contains already, as Binance tells clients to do, so a REST answer and
the stream fit together from the first moment. Where the recording has a gap, the stream has it too, and the
book goes on from the next snapshot.

*Streams.* Recorded streams are sent as they are. What the tape does not have (@depth20 and its like, @depth,
@ticker, @bookTicker) is derived from book and trades after each diff.

*Loop.* At the end one diff turns the book at the end into the book at the beginning, under the update ids
that follow. Then the tape plays on behind its snapshot, all ids and times shifted: for a client it is one
unbroken market that makes a jump.
"""

from collections.abc import Callable, Container, Iterator, Sequence
from typing import Final

from producer.exchange.book import Depth
from producer.exchange.messages import DepthSnapshot, Message
from producer.exchange.replay_symbol import SymbolReplay, Timeline
from producer.exchange.survey import Survey
from producer.exchange.symbols import SymbolInfo
from producer.exchange.tape import Record

LOOP_PAUSE_NS: Final = 100_000_000
"""Tape time between the last message and the first of the next pass: one beat of the diffs."""


class TapeMarket:
    """A tape as a `Market`. `read` opens it, `survey` says what it holds."""

    def __init__(
        self,
        survey: Survey,
        read: Callable[[], Iterator[Record]],
        *,
        speed: float = 1.0,
        loop: bool = False,
        keep_times: bool = False,
        start_delay_ns: int = 0,
    ) -> None:
        self._survey = survey
        self._read = read
        self._speed = speed
        self._loop = loop
        self._start_delay_ns = start_delay_ns
        self._start_ns: int | None = None
        self._timeline: Timeline | None = None
        self._records: Iterator[Record] = iter(())
        self._next: Record | None = None
        self._symbols = {symbol: SymbolReplay(tape, keep_times=keep_times) for symbol, tape in survey.symbols.items()}

    def symbols(self) -> Sequence[str]:
        """Return the recorded symbols."""
        return list(self._symbols)

    def info(self, symbol: str) -> SymbolInfo:
        """Return a symbol's rules, its price and quantity grid read off the tape."""
        return self._symbols[symbol].feed.info

    def depth(self, symbol: str, limit: int) -> Depth:
        """Return a symbol's book as it is."""
        return self._symbols[symbol].feed.book.depth(limit)

    def subscribed(self, now_ns: int) -> None:
        """Put the start off to `start_delay_ns` from now, unless the tape runs already."""
        if self._timeline is None:
            self._start_ns = now_ns + self._start_delay_ns

    def close(self) -> None:
        """Leave the tape where it is."""

    def advance(self, now_ns: int, wanted: Container[str]) -> Iterator[Message]:
        """Play what is due by `now_ns`."""
        if self._timeline is None:
            if self._start_ns is None or now_ns < self._start_ns:
                return
            self._start_pass(self._start_ns)
        while self._timeline is not None and self._next is not None:
            record = self._next
            if self._timeline.at(record.receive_ns) > now_ns:
                return
            if record.payload is not None and not isinstance(record.payload, DepthSnapshot):
                replay = self._symbols[record.payload.symbol]
                yield from replay.play(record.payload, self._timeline, wanted)
            self._next = next(self._records, None)
            if self._next is None and self._loop:
                yield from self._rewind(record.receive_ns, self._timeline, wanted)

    def _rewind(self, end_ns: int, timeline: Timeline, wanted: Container[str]) -> Iterator[Message]:
        for replay in self._symbols.values():
            yield from replay.rewind(timeline, end_ns, wanted)
        self._start_pass(timeline.at(end_ns + LOOP_PAUSE_NS))

    def _start_pass(self, start_ns: int) -> None:
        self._timeline = Timeline(self._survey.start_ns, start_ns, self._speed)
        self._records = self._read()
        self._next = next(self._records, None)
