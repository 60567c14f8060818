"""What the exchange says that it sent: its public stream of trades, heard by nobody but the soak."""

import asyncio
import json
import threading
import time
from collections.abc import Sequence
from typing import Any, Final, Self

import aiohttp

_AGAIN_SEC: Final = 0.2


class Claims:
    """Listens to the trades of `symbols` in a thread of its own, and keeps the newest of each.

    Attributes:
        newest: trade id and Unix time of the newest trade, by symbol.
    """

    def __init__(self, ws_url: str, symbols: Sequence[str]) -> None:
        streams = "/".join(f"{symbol.lower()}@trade" for symbol in symbols)
        self._address = f"{ws_url}/stream?streams={streams}"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),), daemon=True)
        self._closing = False
        self.newest: dict[str, tuple[int, float]] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        self._thread.join(5)

    async def _run(self) -> None:
        while not self._closing:
            try:
                async with (
                    aiohttp.ClientSession() as session,
                    session.ws_connect(self._address, heartbeat=5, max_msg_size=0) as socket,
                ):
                    await self._listen(socket)
            except (OSError, aiohttp.ClientError):
                pass  # it is away: a fault of the exchange
            await asyncio.sleep(_AGAIN_SEC)

    async def _listen(self, socket: Any) -> None:
        while not self._closing:
            try:
                message = await socket.receive(timeout=0.5)
            except TimeoutError:
                continue
            if message.type is not aiohttp.WSMsgType.TEXT:
                return
            trade = json.loads(message.data)["data"]
            self.newest[trade["s"]] = (int(trade["t"]), time.time())
