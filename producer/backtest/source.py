"""What a backtest reads from: recorded market data as the NautilusTrader objects that the live client sends on."""

from collections.abc import Iterator, Sequence
from typing import Any, Final, Protocol

import msgspec

NANOS_PER_MS: Final = 1_000_000


class BacktestError(ValueError):
    """One line that names what is wrong and, where it helps, what is allowed."""


class Extent(msgspec.Struct, frozen=True):
    """How far a recording reaches, known before it is replayed.

    No event time is less than `first_ns` or greater than `last_ns`, and none lies more than `lateness_ns`
    behind the greatest one received before it.
    """

    first_ns: int
    last_ns: int
    lateness_ns: int
    messages: int


class Source(Protocol):
    """A recording that can be replayed."""

    @property
    def symbols(self) -> Sequence[str]:
        """The recorded symbols."""

    @property
    def extent(self) -> Extent:
        """How far it reaches."""

    def data(self) -> Iterator[Any]:
        """Yield NautilusTrader data in order of receipt, which is its `ts_init`, with Binance's 8 decimals.

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
        """Allow for an event that is stamped up to `ts_event` and is no message of the recording."""
        whole_ms = -(-ts_event // NANOS_PER_MS) * NANOS_PER_MS  # what events carry
        self._newest = max(self._newest, whole_ms)

    def extent(self) -> Extent:
        """Return what was gathered, `messages` being 0 where nothing was."""
        return Extent(self._first, self._newest, self._lateness, self._messages)
