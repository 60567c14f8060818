"""Who listens to what, and how messages reach them without one client holding up another.

A message is appended to the queue of each of its listeners, which never waits. Every connection has a task
of its own that empties its queue into the socket, as fast as the client reads. A client that falls so far
behind that its queue passes a limit is cut off, as Binance does, so memory stays bounded.

Messages leave as WebSocket frames in a row, many in one write: a write for each costs more than the whole market.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Container
from typing import Final

from aiohttp import WSCloseCode, web

from producer.exchange.control import Subscriptions
from producer.exchange.messages import Message

MAX_PENDING_BYTES: Final = 16 * 1024 * 1024
"""What may wait for one client: the busiest symbol for minutes, or hundreds of symbols for seconds."""

_WRITE_BYTES: Final = 64 * 1024
_FULL_WAIT_SEC: Final = 0.002
_FINAL_TEXT: Final = 0x81
_CLOSE_SECONDS: Final = 1.0

_log = logging.getLogger(__name__)


class Session:
    """One connection: its subscriptions and the frames that wait for it."""

    def __init__(
        self,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport,
        subscriptions: Subscriptions,
        max_pending_bytes: int,
    ) -> None:
        self.subscriptions = subscriptions
        self._socket = socket
        self._transport = transport
        self._max_pending_bytes = max_pending_bytes
        self._pending: deque[bytes] = deque()
        self._pending_bytes = 0
        self._ready = asyncio.Event()
        self._silent = False

    def push(self, frame: bytes) -> None:
        """Queue a frame; cut the client off where too much waits for it already."""
        if self._silent or self._transport.is_closing():
            return
        self._pending.append(frame)
        self._pending_bytes += len(frame)
        self._ready.set()
        if self._pending_bytes > self._max_pending_bytes:
            _log.warning("cut off a client that is %d bytes behind", self._pending_bytes)
            self._pending.clear()
            self._transport.abort()

    async def write(self) -> None:
        """Send what is queued, until the connection ends."""
        transport = self._transport
        while not transport.is_closing() and not self._socket.closed:
            if not self._pending:
                self._ready.clear()
                await self._ready.wait()
            elif transport.get_write_buffer_size() > _WRITE_BYTES:
                await asyncio.sleep(_FULL_WAIT_SEC)  # the client reads more slowly than this
            else:
                transport.write(self._next_frames())
                await asyncio.sleep(0)  # a write does not wait, so others would not run

    def _next_frames(self) -> bytes:
        parts: list[bytes] = []
        size = 0
        while self._pending and size < _WRITE_BYTES:
            message = self._pending.popleft()
            size += len(message)
            parts += (_header(len(message)), message)
        self._pending_bytes -= size
        return b"".join(parts)

    def reset(self) -> None:
        """End the connection without a goodbye."""
        self._transport.abort()

    def mute(self) -> None:
        """Send nothing any more; pings are still answered."""
        self._silent = True
        self._pending.clear()
        self._pending_bytes = 0

    def half_open(self) -> None:
        """Neither send nor read any more, as if the line were cut somewhere on the way."""
        self.mute()
        self._transport.pause_reading()

    async def close(self) -> None:
        """Say goodbye, and hang up on a client that does not answer."""
        self.mute()  # nothing may follow a goodbye
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._socket.close(code=WSCloseCode.GOING_AWAY)
        except (TimeoutError, ConnectionResetError):
            pass
        finally:
            self._transport.abort()


def _header(length: int) -> bytes:
    """Return what comes before an unmasked text message (RFC 6455, 5.2)."""
    if length < 126:
        return bytes((_FINAL_TEXT, length))
    if length < 1 << 16:
        return bytes((_FINAL_TEXT, 126, length >> 8, length & 0xFF))
    return bytes((_FINAL_TEXT, 127)) + length.to_bytes(8)


class Hub:
    """All sessions by stream. `stream in hub` tells whether anybody listens."""

    def __init__(self) -> None:
        self._sessions: set[Session] = set()
        self._listeners: dict[str, dict[Session, None]] = {}
        self._stalled: set[tuple[Session, str]] = set()

    def __contains__(self, stream: object) -> bool:
        return stream in self._listeners

    def publish(self, message: Message) -> None:
        """Queue a message for everybody who listens to its stream."""
        combined: bytes | None = None
        for session in self._listeners.get(message.stream, ()):
            if session.subscriptions.combined:
                combined = combined or message.combined()
                session.push(combined)
            else:
                session.push(message.payload)

    def update(self, session: Session) -> bool:
        """Take over what a session subscribes to now; tell whether there is a stream more than before."""
        wanted = session.subscriptions.streams
        self._forget(session, kept=wanted)
        self._sessions.add(session)
        self._stalled = {(one, stream) for one, stream in self._stalled if one is not session or stream in wanted}
        added = [
            stream
            for stream in wanted
            if session not in self._listeners.get(stream, ()) and (session, stream) not in self._stalled
        ]
        for stream in added:
            self._listeners.setdefault(stream, {})[session] = None
        return bool(added)

    def remove(self, session: Session) -> None:
        """Forget a session."""
        self._sessions.discard(session)
        self._stalled = {(one, stream) for one, stream in self._stalled if one is not session}
        self._forget(session, kept=())

    def reset(self) -> None:
        """End every connection without a goodbye."""
        for session in self._sessions:
            session.reset()

    def mute(self) -> None:
        """Let the connections of now carry nothing but pings and pongs."""
        for session in self._sessions:
            session.mute()

    def half_open(self) -> None:
        """Let the connections of now carry nothing at all."""
        for session in self._sessions:
            session.half_open()

    def stall(self, stream: str) -> None:
        """Let the stream go silent for its listeners, until they subscribe to it anew."""
        self._stalled |= {(session, stream) for session in self._listeners.pop(stream, ())}

    async def close(self) -> None:
        """End every connection."""
        await asyncio.gather(*(session.close() for session in self._sessions))

    def _forget(self, session: Session, kept: Container[str]) -> None:
        for stream, listeners in list(self._listeners.items()):
            if session in listeners and stream not in kept:
                del listeners[session]
                if not listeners:
                    del self._listeners[stream]
