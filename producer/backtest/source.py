"""What a backtest reads from: recorded market data as the NautilusTrader objects that the live client sends on."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import msgspec


class BacktestError(ValueError):
    """One line that names what is wrong and, where it helps, what is allowed."""


class Extent(msgspec.Struct, frozen=True):
    """How far a recording reaches, known before it is replayed.

    `first_ns` and `last_ns` are the least and the greatest event time. `lateness_ns` is the most that a
    message's event time lies behind the greatest one received before it, or more.
    """

    first_ns: int
    last_ns: int
    lateness_ns: int
    messages: int


class Source(Protocol):
    """A recording that can be replayed."""

    @property
    def precisions(self) -> dict[str, tuple[int, int]]:
        """The recorded symbols in order of their name, each with its decimals of price and quantity."""

    @property
    def extent(self) -> Extent:
        """How far it reaches."""

    def data(self) -> Iterator[Any]:
        """Yield NautilusTrader data in order of receipt, which is its `ts_init`.

        Raises:
            ValueError: the recording is damaged; one line that says where.
        """


class ExtentScan:
    """Gathers an `Extent` from event times in order of receipt."""

    def __init__(self) -> None:
        self._first = 2**63
        self._newest = 0
        self._lateness = 0
        self._messages = 0

    def note(self, ts_event: int) -> None:
        """Take a message's event time (ns)."""
        self._messages += 1
        self._first = min(self._first, ts_event)
        self._lateness = max(self._lateness, self._newest - ts_event)
        self._newest = max(self._newest, ts_event)

    def assume(self, ts_event: int) -> None:
        """Allow for something that may be stamped up to `ts_event` and is no message itself."""
        self._newest = max(self._newest, ts_event)

    def extent(self) -> Extent:
        """Return what was gathered, `messages` being 0 where nothing was."""
        return Extent(self._first, self._newest, self._lateness, self._messages)


def times_of(source: Source, every_ns: int, most: int) -> int:
    """Return how many multiples of `every_ns` lie within the recording.

    Raises:
        BacktestError: none does, or more than `most`.
    """
    extent = source.extent
    count = extent.last_ns // every_ns - -(-extent.first_ns // every_ns) + 1
    if not extent.messages or count <= 0:
        raise BacktestError("no report: the recording holds no whole multiple of --every")
    if count > most:
        raise BacktestError(f"--every is too short: {count:,} as-of times, at most {most:,} are allowed")
    return count
