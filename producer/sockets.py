"""The WebSocket connections to the exchange: NautilusTrader's, made fit for many symbols and bad days.

- Subscriptions that come together go out together. The stock client sends a message for each stream, and
  Binance ends a connection that sends more than 5 a second.
- A connection that cannot be made is tried again. The stock client gives up, and everybody who subscribes
  later waits for it for ever.
- A reconnect is dealt with on the event loop's thread. The Rust library reports it from a thread of its own,
  and the stock client creates tasks there.
"""

import asyncio
import logging
from typing import Any, Final

from nautilus_trader.adapters.binance.websocket.client import BinanceWebSocketClient
from nautilus_trader.core.nautilus_pyo3 import WebSocketClientError

from producer import backoff

GATHER: Final = 0.1
RETRY_FIRST: Final = 0.5
RETRY_LONGEST: Final = 30.0

log = logging.getLogger(__name__)


class StreamSockets(BinanceWebSocketClient):
    """Connections of up to 200 streams each."""

    def __init__(self, **stock: Any) -> None:
        """Take the arguments of NautilusTrader's client."""
        super().__init__(**stock)
        self._wanted: list[str] = []
        self._gathering: asyncio.Task[None] | None = None

    def connected(self) -> bool:
        """Whether there are connections and none is down."""
        # While a connection is being made anew it still calls itself active.
        return bool(self._clients) and all(
            socket is not None and socket.is_active() and not socket.is_reconnecting()
            for socket in self._clients.values()
        )

    async def _subscribe(self, stream: str) -> None:
        if stream in self._streams:
            return
        self._streams.append(stream)
        self._wanted.append(stream)
        if self._gathering is None:
            self._gathering = asyncio.create_task(self._subscribe_together())
            self._tasks.add(self._gathering)
        # Shielded, so that one who gives up does not take the others' subscriptions along.
        await asyncio.shield(self._gathering)

    async def _subscribe_together(self) -> None:
        await asyncio.sleep(GATHER)
        wanted, self._wanted, self._gathering = self._wanted, [], None
        for start in range(0, len(wanted), self.MAX_SUBSCRIPTIONS_PER_CLIENT):
            client_id = self._next_client_id
            self._next_client_id += 1
            await self._connect_client(client_id, wanted[start : start + self.MAX_SUBSCRIPTIONS_PER_CLIENT])

    async def _connect_client(self, client_id: int, streams: list[str]) -> None:
        self._clients[client_id] = None
        for delay in backoff.delays(RETRY_FIRST, RETRY_LONGEST):
            try:
                await super()._connect_client(client_id, streams)
            except WebSocketClientError as error:
                log.warning("no connection to %s, next try in %.1f s: %s", self.url, delay, error)
                await asyncio.sleep(delay)
            else:
                return

    def _handle_reconnect(self, client_id: int) -> None:
        self._loop.call_soon_threadsafe(super()._handle_reconnect, client_id)
