"""How many streams are open, of all clients and of each, and how often each may be written to.

A stream costs for as long as it is open: a connection, a task, and work for each report that changes. So streams of
both kinds, `/stream` and `subscriptions/listen`, share one bound, of which one client may have half. And together they
get so many updates a second: a stream pauses after each turn for as long as all of them would need for a turn like it,
and misses versions in between, never the newest. Requests are answered meanwhile.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from prometheus_client import Gauge

MOST_STREAMS: Final = 256
MOST_OF_A_CLIENT: Final = 128
UPDATES_PER_SEC: Final = 10000
_SHORTEST_PAUSE_SEC: Final = 0.01
"""Below it a pause is not worth its timer: reports come four times a second."""
LONGEST_PAUSE_SEC: Final = 2.0
"""Boards take five seconds of silence for a lost connection."""


class TooManyStreamsError(Exception):
    """One line that says how many there may be."""


class Openings:
    """The streams of this process; `gauge` shows how many there are."""

    def __init__(self, gauge: Gauge | None = None) -> None:
        self._gauge = gauge
        self._of_clients: Counter[str] = Counter()

    def require(self, client: str) -> None:
        """Return if `client`, the holder of a token or an address, may open another. Raises TooManyStreamsError."""
        if self._of_clients.total() >= MOST_STREAMS:
            raise TooManyStreamsError(f"this reader has {MOST_STREAMS} streams open, as many as it may")
        if self._of_clients[client] >= MOST_OF_A_CLIENT:
            raise TooManyStreamsError(f"you have {MOST_OF_A_CLIENT} streams open, as many as a client may")

    @contextmanager
    def opened(self, client: str) -> Iterator[None]:
        """Count a stream while it is open."""
        self._count(client, 1)
        try:
            yield
        finally:
            self._count(client, -1)

    def pause_sec(self, updates: int) -> float:
        """Return how long a stream has to wait after a turn of so many updates."""
        pause = updates * self._of_clients.total() / UPDATES_PER_SEC
        return min(pause, LONGEST_PAUSE_SEC) if pause >= _SHORTEST_PAUSE_SEC else 0.0

    def _count(self, client: str, streams: int) -> None:
        self._of_clients[client] += streams
        if not self._of_clients[client]:
            del self._of_clients[client]
        if self._gauge is not None:
            self._gauge.set(self._of_clients.total())
