"""What the server asks of a market, recorded or synthetic.

A market holds no socket, no clock and no task: the server tells it the time and sends what it returns. So
a test drives it by hand, and a fault (a lost or doubled diff, silence, a scenario) can be put in by a market
that wraps another and changes what `advance` yields or what `depth` returns.
"""

from collections.abc import Container, Iterator, Sequence
from typing import Protocol

from producer.exchange.book import Depth
from producer.exchange.messages import Message
from producer.exchange.symbols import SymbolInfo


class Market(Protocol):
    """A source of market data. Times are nanoseconds since the Unix epoch."""

    def symbols(self) -> Sequence[str]:
        """Return the listed symbols, in a fixed order."""

    def info(self, symbol: str) -> SymbolInfo:
        """Return the trading rules of a listed symbol."""

    def depth(self, symbol: str, limit: int) -> Depth:
        """Return the book of a listed symbol as of what `advance` has yielded so far, `limit` levels a side.

        The next diff of the symbol continues it: U ≤ last_update_id + 1 ≤ u, once those that end at or
        below it are dropped.
        """

    def subscribed(self, now_ns: int) -> None:
        """Take note that a client has just subscribed to a stream."""

    def advance(self, now_ns: int, wanted: Container[str]) -> Iterator[Message]:
        """Move the market to `now_ns` and yield what happened since, in order, of the `wanted` streams.

        What a stream carries does not depend on which others are wanted. Time that stands still or goes back
        yields nothing. The iterator must be used up before the next call.
        """

    def close(self) -> None:
        """Take note that nobody will advance it any more."""
