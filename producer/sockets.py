"""The connections to the exchange in place of NautilusTrader's, made fit for many symbols and bad days.

Changes that come together go out together: the stock client sends a message for each stream, and Binance ends a
connection that sends more than 5 a second. New streams go where there is room, and a connection without streams is
closed. Each connection looks after itself (`producer.connection`), so one that is lost costs only its own streams.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

from nautilus_trader.adapters.binance.websocket.client import BinanceWebSocketClient

from producer.connection import Connection
from producer.timing import Timing

GATHER: Final = 0.1


class StreamSockets(BinanceWebSocketClient):
    """Connections of up to 200 streams each; `subscribe_...` name the streams and do not wait."""

    def __init__(
        self,
        *,
        ready: Callable[[Sequence[str]], None],
        lost: Callable[[Sequence[str], str], None],
        timing: Timing,
        **stock: Any,
    ) -> None:
        """Call `ready(streams)` and `lost(streams, reason)`; `stock` is for NautilusTrader's client."""
        super().__init__(handler_reconnect=None, **stock)
        self._ready = ready
        self._lost = lost
        self._timing = timing
        self._added: list[str] = []
        self._removed: list[str] = []
        self._stopping: set[asyncio.Task[None]] = set()
        self._connections: list[Connection] = []
        self._gathering: asyncio.TimerHandle | None = None

    def connected(self) -> bool:
        """Whether there are connections and all of them are ready."""
        return bool(self._connections) and all(connection.is_ready for connection in self._connections)

    async def disconnect(self) -> None:
        """Close all connections for good."""
        if self._gathering is not None:
            self._gathering.cancel()
        connections, self._connections = self._connections, []
        await asyncio.gather(*self._stopping, *(connection.stop() for connection in connections))

    def renew(self, stream: str) -> None:
        """Ask anew for a stream that has fallen silent while others of its connection go on."""
        for connection in self._connections:
            if stream in connection.streams:
                connection.renew(stream)

    async def _subscribe(self, stream: str) -> None:
        if stream in self._streams:
            return
        self._streams.append(stream)
        if stream in self._removed:
            self._removed.remove(stream)
        else:
            self._added.append(stream)
        self._gather()

    async def _unsubscribe(self, stream: str) -> None:
        if stream not in self._streams:
            return
        self._streams.remove(stream)
        if stream in self._added:
            self._added.remove(stream)
        else:
            self._removed.append(stream)
        self._gather()

    def _gather(self) -> None:
        if self._gathering is None:
            self._gathering = self._loop.call_later(GATHER, self._change_together)

    def _change_together(self) -> None:
        added, self._added = self._added, []
        removed, self._removed = set(self._removed), []
        self._gathering = None
        for connection in list(self._connections):
            room = self.MAX_SUBSCRIPTIONS_PER_CLIENT - len(set(connection.streams) - removed)
            fitting, added = added[:room], added[room:]
            if fitting:
                connection.add(fitting)
            if gone := [stream for stream in connection.streams if stream in removed]:
                self._remove(connection, gone)
        for start in range(0, len(added), self.MAX_SUBSCRIPTIONS_PER_CLIENT):
            self._connect_to(added[start : start + self.MAX_SUBSCRIPTIONS_PER_CLIENT])

    def _remove(self, connection: Connection, gone: Sequence[str]) -> None:
        if len(gone) < len(connection.streams):
            connection.remove(gone)
            return
        self._connections.remove(connection)
        stopping = self._loop.create_task(connection.stop())
        self._stopping.add(stopping)
        stopping.add_done_callback(self._stopping.discard)

    def _connect_to(self, streams: Sequence[str]) -> None:
        connection = Connection(
            self._base_url,
            streams,
            received=self._handler,
            ready=self._ready,
            lost=self._lost,
            timing=self._timing,
        )
        self._connections.append(connection)
