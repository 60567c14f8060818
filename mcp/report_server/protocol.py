"""uvicorn's HTTP protocol with bounds for what comes before a request is complete.

Until then nobody knows what a connection is good for, and it costs memory and a descriptor all the same. Four things
are bounded, which uvicorn leaves to the client:

* **the head**: httptools takes a request line and headers of any length and gathers them in memory;
* **the time** from the connection, or from the first byte of a further request, to the end of the head;
* **the time** for which a client does not read what it is sent: it keeps a place that others may want;
* **the number** of connections, in all and of one address. Where there are more, the one goes that has waited longest
  without a complete request, so that anyone who asks is answered whatever others leave open; uvicorn's own limit would
  answer everybody with 503, probes of liveness included.
"""

import asyncio
import resource
import socket
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Final, Literal

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES: Final = 32_768
HEAD_SEC: Final = 5.0
READ_SEC: Final = 10.0
SEND_BUFFER_BYTES: Final = 256 << 10
"""What the kernel holds for a client that does not read; it would give each 4 MB."""
MAX_CONNECTIONS: Final = 2000
MAX_OF_AN_ADDRESS: Final = 1000
# Descriptors for Redis, listening sockets, files of the board.
_SPARE_FILES: Final = 128

Why = Literal["slow_head", "slow_reader", "connections"]


class Connections:
    """The connections of this process.

    Attributes:
        on_closed: called with the reason for each connection that is closed from here.
    """

    def __init__(self, most: int = MAX_CONNECTIONS, of_an_address: int = MAX_OF_AN_ADDRESS) -> None:
        self._most = most
        self._of_an_address = of_an_address
        self._waiting: OrderedDict[BoundedHttpProtocol, None] = OrderedDict()
        self._all: Counter[str] = Counter()
        self.on_closed: Callable[[Why], object] = lambda _: None

    def __len__(self) -> int:
        return self._all.total()

    def came(self, connection: "BoundedHttpProtocol") -> None:
        """Count a new one, and close another, or this one, where there are too many."""
        address = connection.address
        self._all[address] += 1
        self._waiting[connection] = None
        if self._all[address] > self._of_an_address:
            self._close(next(each for each in self._waiting if each.address == address))
        elif len(self) > self._most:
            self._close(next(iter(self._waiting)))

    def waits(self, connection: "BoundedHttpProtocol") -> None:
        """Note that it has no complete request, since now."""
        if connection.address in self._all:
            self._waiting[connection] = None

    def asks(self, connection: "BoundedHttpProtocol") -> None:
        """Note that it has a complete request."""
        self._waiting.pop(connection, None)

    def gone(self, connection: "BoundedHttpProtocol") -> None:
        """Forget it."""
        self._waiting.pop(connection, None)
        self._all[connection.address] -= 1
        if not self._all[connection.address]:
            del self._all[connection.address]

    def _close(self, connection: "BoundedHttpProtocol") -> None:
        self._waiting.pop(connection, None)
        connection.give_up("connections")


class BoundedHttpProtocol(HttpToolsProtocol):
    """Closes connections that are beyond a bound; `bounded_by` makes the class for the connections of a process.

    What a chunk holds beside the head is counted in as far as it came before the head's end: the limit is that of a
    defence, not a measure.
    """

    bounds: Connections
    head_sec = HEAD_SEC
    read_sec = READ_SEC
    address = ""
    _head_bytes = 0
    _in_head = True
    _deadline: asyncio.TimerHandle | None = None
    _full: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count it, and give it some seconds for its first request."""
        super().connection_made(transport)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self.address = self.client[0] if self.client else ""
        self._expect_head()
        self.bounds.came(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._head_came()
        self._has_room()
        self.bounds.gone(self)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Give the client some seconds to read what is waiting for it."""
        super().pause_writing()
        if self._full is None:
            self._watch_reading()

    def resume_writing(self) -> None:
        """Go on."""
        self._has_room()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self._in_head:
            self._head_bytes += len(data)
            self._expect_head()
        super().data_received(data)
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.transport.close()

    def on_message_begin(self) -> None:
        """Begin to count."""
        self._head_bytes = 0
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Stop counting."""
        self._in_head = False
        self._head_came()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that the request is complete; what follows it is the head of the next."""
        self.bounds.asks(self)
        self._in_head = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for another request."""
        super().on_response_complete()
        if not self.transport.is_closing() and not self.pipeline:
            self.bounds.waits(self)

    def give_up(self, why: Why) -> None:
        """Close the connection, whatever it has begun."""
        self.bounds.on_closed(why)
        self.transport.close()

    def _has_room(self) -> None:
        if self._full is not None:
            self._full.cancel()
            self._full = None

    def _watch_reading(self) -> None:
        waiting = self.transport.get_write_buffer_size()
        self._full = self.loop.call_later(self.read_sec, self._look_at_reading, waiting)

    def _look_at_reading(self, waiting: int) -> None:
        self._full = None
        if self.transport.get_write_buffer_size() < waiting:
            self._watch_reading()  # slow, but it reads
            return
        self.bounds.on_closed("slow_reader")
        self.transport.abort()  # to close would wait until it reads

    def _expect_head(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.head_sec, self._late)

    def _head_came(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            self.give_up("slow_head")


def bounded_by(
    connections: Connections, head_sec: float = HEAD_SEC, read_sec: float = READ_SEC
) -> type[BoundedHttpProtocol]:
    """Return the protocol for connections that count together."""
    limits = {"bounds": connections, "head_sec": head_sec, "read_sec": read_sec}
    return type("Bounded", (BoundedHttpProtocol,), limits)


def most_connections() -> int:
    """Return how many connections this process may have: as many as descriptors allow, `MAX_CONNECTIONS` at most.

    The soft limit of descriptors, often 1,024, is raised to what the hard limit allows.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + _SPARE_FILES
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        soft = allowed
    files = wanted if soft == resource.RLIM_INFINITY else soft
    return max(1, min(MAX_CONNECTIONS, files - _SPARE_FILES))
