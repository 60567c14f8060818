"""One WebSocket connection to the exchange, opened, watched, and opened anew for as long as it is wanted.

NautilusTrader's Rust client carries the frames. Its own way to reconnect is switched off, because it says
nothing of a connection that is lost, only of one that is back; it never notices a silent one; and what the
old connection had queued would still be delivered. So here each try is a client of its own:

| state      | leaves it when                                                       | and then                 |
|------------|----------------------------------------------------------------------|--------------------------|
| opening    | open, SUBSCRIBE answered                                             | `ready(streams)`         |
| opening    | refused, failed, not done in time                                    | pause, opening           |
| ready      | streams added, removed or to be renewed                              | SUBSCRIBE, UNSUBSCRIBE   |
| ready      | closed by anybody; silent for `idle`, and a question not answered;   |                          |
|            | we are seconds behind ourselves                                      | `lost(...)`, pause, open |

`ready` means that whatever the exchange publishes from now on will be delivered, `lost` that something may
be missing from now on; messages are handed over between the two only.

Requests hold at most `BATCH` streams and leave at most four times a second; Binance closes a connection that
gets more than five messages in one.

Silence may also mean that nothing happens in the market. So after `idle` seconds of it the exchange is asked for
its list of our subscriptions: a connection that is half-open, or whose other end only answers pings, does not
answer that. One that answers is left alone, since a new one would cost trades; but not for ever.

NautilusTrader's client reads as fast as the exchange sends and queues what comes on the event loop, without a
limit. If that queue is seconds long (our timer comes seconds late), the producer cannot carry what it has
subscribed to: the connection is given up, and the queue with it. Books are then said to be unknown, rather
than older and older, and memory stays bounded.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from nautilus_trader.core.nautilus_pyo3 import WebSocketClient, WebSocketClientError, WebSocketConfig

from producer import backoff
from producer.requests import Requests
from producer.timing import Timing

_WATCH: Final = 0.05
_CLOSE_LIMIT: Final = 1.0
_HEARTBEAT: Final = 20  # pings of ours; they keep routers from forgetting a quiet connection
_MESSAGE: Final = b'{"stream":'
BATCH: Final = 100

log = logging.getLogger(__name__)


class Connection:
    """Keeps streams (at most 1,024 by Binance's rules) coming in until `stop`."""

    def __init__(
        self,
        url: str,
        streams: Sequence[str],
        *,
        received: Callable[[bytes], None],
        ready: Callable[[Sequence[str]], None],
        lost: Callable[[Sequence[str], str], None],
        timing: Timing,
    ) -> None:
        """Hand messages to `received`, on the running loop's thread."""
        self._wanted = dict.fromkeys(streams)
        self._held: dict[str, None] = {}
        self._renewing: set[str] = set()
        self._adjusting: asyncio.Task[None] | None = None
        self._url = url
        self._received = received
        self._ready = ready
        self._lost = lost
        self._timing = timing
        self._loop = asyncio.get_running_loop()
        self._client: WebSocketClient | None = None
        self._try = 0
        self._requests = Requests(timing.request_pace)
        self._is_ready = False
        self._arrived = 0.0
        self._task = asyncio.create_task(self._run(), name=f"connection of {streams[0]} and others")

    @property
    def streams(self) -> list[str]:
        """What is to come in."""
        return list(self._wanted)

    def add(self, streams: Sequence[str]) -> None:
        """Let these come in too; `ready` tells when they do, and the others are not disturbed."""
        self._wanted.update(dict.fromkeys(streams))
        self._adjust()

    def remove(self, streams: Sequence[str]) -> None:
        """Let these not come in any more; at least one must be left."""
        for stream in streams:
            self._wanted.pop(stream, None)
        self._adjust()

    def renew(self, stream: str) -> None:
        """Unsubscribe from a stream that has fallen silent alone, and subscribe to it again."""
        self._renewing.add(stream)
        self._adjust()

    @property
    def is_ready(self) -> bool:
        """Whether the streams come in, as far as can be known."""
        return self._is_ready

    async def stop(self) -> None:
        """Close for good; nothing is reported or handed over any more."""
        self._is_ready = False
        self._task.cancel()
        await asyncio.wait([self._task])
        await self._close()

    async def _run(self) -> None:
        delays = self._delays()
        while True:
            opened_at = time.monotonic()
            try:
                reason = await self._live()
            except Exception as error:
                # Whatever it was, nobody else would open the connection anew.
                reason = f"not opened: {error!r:.200}"
            await self._close()
            if time.monotonic() - opened_at > self._timing.steady:
                delays = self._delays()
            delay = next(delays)
            log.warning(
                "connection of %d streams to %s %s, next try in %.1f s", len(self._wanted), self._url, reason, delay
            )
            await asyncio.sleep(delay)

    async def _live(self) -> str:
        """Open the connection and return how it ended."""
        async with asyncio.timeout(self._timing.open_limit):
            await self._open()
        self._is_ready = True
        try:
            self._ready(list(self._held))
            self._adjust()  # to what was asked for meanwhile
            reason = await self._watch()
        finally:
            self._is_ready = False
        self._lost(list(self._held), reason)
        return reason

    def _delays(self) -> Iterator[float]:
        return backoff.delays(self._timing.reconnect_first, self._timing.reconnect_longest)

    async def _open(self) -> None:
        self._try += 1
        number = self._try
        self._held.clear()
        self._renewing.clear()
        # Binance wants a stream in the address; to subscribe to it twice does no harm.
        client = self._client = await WebSocketClient.connect(
            loop_=self._loop,
            config=WebSocketConfig(
                url=f"{self._url}/stream?streams={next(iter(self._wanted))}",
                headers=[],
                heartbeat=_HEARTBEAT,
                reconnect_max_attempts=0,
            ),
            handler=partial(self._take, number),
            ping_handler=partial(self._pong, number),
        )
        await self._reconcile(client)

    def _adjust(self) -> None:
        if self._is_ready and (self._adjusting is None or self._adjusting.done()):
            self._adjusting = asyncio.create_task(self._adjust_until_done(), name="change of streams")

    async def _adjust_until_done(self) -> None:
        for delay in self._delays():
            client = self._client
            if client is None:
                return
            try:
                async with asyncio.timeout(self._timing.open_limit):
                    await self._reconcile(client)
                return
            except (TimeoutError, WebSocketClientError, RuntimeError) as error:
                # The other streams go on; whether the connection still stands is for the watch to say.
                log.warning("streams not changed, next try in %.1f s: %r", delay, error)
            await asyncio.sleep(delay)

    async def _reconcile(self, client: WebSocketClient) -> None:
        """Bring what comes in to what is wanted, a batch at a time; a refusal is a RuntimeError."""
        renewed: set[str] = set()
        while True:
            gone = [stream for stream in self._held if stream not in self._wanted or stream in self._renewing]
            new = [stream for stream in self._wanted if stream not in self._held]
            if batch := gone[:BATCH]:
                await self._requests.ask(client, {"method": "UNSUBSCRIBE", "params": batch})
                renewed.update(self._renewing.intersection(batch))
                self._renewing.difference_update(batch)
                for stream in batch:
                    del self._held[stream]
            elif batch := new[:BATCH]:
                await self._requests.ask(client, {"method": "SUBSCRIBE", "params": batch})
                self._held.update(dict.fromkeys(batch))
                fresh = [stream for stream in batch if stream not in renewed]
                if self._is_ready and fresh:
                    self._ready(fresh)
            else:
                return

    async def _watch(self) -> str:
        timing, client = self._timing, self._client
        alive = self._arrived = time.monotonic()
        while client is not None and client.is_active():
            now = time.monotonic()
            if now - self._arrived > timing.idle_longest:
                return "silent"
            if now - max(alive, self._arrived) > timing.idle:
                if not await self._answers_in_time(client):
                    return "silent"
                alive = time.monotonic()
            before_sleep = time.monotonic()
            await asyncio.sleep(_WATCH)
            if time.monotonic() - before_sleep > timing.overload:
                return "overloaded"
        return "dropped"

    async def _answers_in_time(self, client: WebSocketClient) -> bool:
        asked = time.monotonic()
        with suppress(TimeoutError, WebSocketClientError, RuntimeError):
            async with asyncio.timeout(self._timing.answer + self._requests.wait):
                await self._requests.ask(client, {"method": "LIST_SUBSCRIPTIONS"})
            return True
        # The market may have moved again while the question was on its way.
        return self._arrived > asked

    async def _close(self) -> None:
        if self._adjusting is not None:
            self._adjusting.cancel()
            self._adjusting = None
        client, self._client = self._client, None
        self._try += 1  # whatever the old client still has queued is not handed over
        if client is not None and not client.is_closed():
            with suppress(TimeoutError, WebSocketClientError, RuntimeError):
                async with asyncio.timeout(_CLOSE_LIMIT):
                    await client.disconnect()

    def _take(self, number: int, raw: bytes) -> None:
        if number != self._try:
            return
        if self._is_ready and raw.startswith(_MESSAGE):
            self._arrived = time.monotonic()
            self._received(raw)
        elif not self._requests.take(raw) and self._is_ready:
            self._received(raw)  # before it is ready it could not be placed; after, it is for others to understand

    def _pong(self, number: int, payload: bytes) -> None:
        client = self._client
        if number == self._try and client is not None:
            self._loop.create_task(_send_pong(client, payload))


async def _send_pong(client: WebSocketClient, payload: bytes) -> None:
    with suppress(WebSocketClientError, RuntimeError):  # it is being closed: nobody waits for the pong
        await client.send_pong(payload)
