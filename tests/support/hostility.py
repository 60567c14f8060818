"""What strangers do to a topic and to a reader, at random and one thing after another, for as long as they may.

Each act is one that has ended a worker or a reader before: see docs/adr/0045, 0068, 0069 and 0070.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress

import msgspec
from aiokafka import AIOKafkaProducer

from agents.intake import home_partition
from support import raw_http
from support.hostile import broken_messages
from support.markets import SECOND, START, trade
from support.mcp_requests import MODERN, headers_of, request
from support.records import event_bytes
from support.strangers import Strangers
from support.workers import PARTITIONS

Act = Callable[[], Awaitable[object]]
MB = 1 << 20


class Stranger:
    """Does one of its `acts` after another; `done` counts them."""

    def __init__(self, seed: str) -> None:
        self.dice = random.Random(seed)
        self.acts: list[Act] = []
        self.done: Counter[str] = Counter()

    async def run(self, seconds: float) -> None:
        """Go on for so long."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            act = self.dice.choice(self.acts)
            await act()
            self.done[act.__name__] += 1
            await asyncio.sleep(self.dice.uniform(0, 2))


class TopicStranger(Stranger):
    """Somebody who may write to the events topic."""

    def __init__(self, brokers: str, topic: str, seed: str) -> None:
        super().__init__(seed)
        self._brokers = brokers
        self._topic = topic
        self.acts = [self.bombs, self.names, self.rubbish, self.times]

    async def bombs(self) -> None:
        """Send zeros that are small on the wire."""
        size, codec = self.dice.choice((5, 9, 31, 100)) * MB, self.dice.choice(("gzip", "zstd", "lz4"))
        await self._send([(b"BTCUSDT", bytes(size))], codec=codec, max_request_size=1 << 30)

    async def names(self) -> None:
        """Send a trade each of names that nobody trades."""
        first = self.dice.randrange(10**9)
        names = [f"FAKE{first + number}" for number in range(2000)]
        await self._send([(name.encode(), event_bytes(trade(1, symbol=name))) for name in names])

    async def rubbish(self) -> None:
        """Send what is no event, in the place of one or in another's."""
        values = [b"{" * 5000, b"[" * 100_000, b"\xff" * 300, b"null", b"", self.dice.randbytes(200), b"0" * 200_000]
        keys = [b"BTCUSDT", b"ETHUSDT", b"\xff\xfe", None, b"X" * 5000]
        await self._send([(self.dice.choice(keys), self.dice.choice(values)) for _ in range(100)])

    async def times(self) -> None:
        """Send events from years to come, and events of a symbol under another's key."""
        ahead = event_bytes(trade(10**9, symbol="ETHUSDT", at=START + 10**9 * SECOND))
        await self._send([(b"ETHUSDT", ahead), (b"BTCUSDT", ahead)] * 20)

    async def _send(
        self, records: list[tuple[bytes | None, bytes]], codec: str | None = None, max_request_size: int = MB
    ) -> None:
        async with AIOKafkaProducer(
            bootstrap_servers=self._brokers, compression_type=codec, max_request_size=max_request_size, linger_ms=5
        ) as producer:
            for key, value in records:
                home = home_partition((key or b"").decode(errors="replace"), PARTITIONS)
                await producer.send(self._topic, value, key=key, partition=home)


class ReaderStranger(Stranger):
    """Somebody who may connect to a reader, from an address of the loopback."""

    def __init__(self, url: str, address: str, seed: str) -> None:
        super().__init__(seed)
        self._url = url
        self._address = address
        self.acts = [self.half_heads, self.deaf_streams, self.listeners, self.broken]

    async def half_heads(self) -> None:
        """Open connections and send half a head, or nothing."""
        await self._leave(1200, self.dice.choice((b"", b"GET /health HTTP/1.1\r\nHost: localhost\r\n")))

    async def deaf_streams(self) -> None:
        """Open streams and do not read them."""
        await self._leave(130, raw_http.get("/stream?symbols=BTCUSDT,ETHUSDT,LTCUSDT"))

    async def listeners(self) -> None:
        """Listen to changes, and do not read what is told."""
        wanted = {"resourceSubscriptions": ["report://BTCUSDT", "report://ETHUSDT"]}
        body = msgspec.json.encode(request(MODERN, "subscriptions/listen", notifications=wanted))
        await self._leave(130, raw_http.post(body, headers_of(MODERN, None, "subscriptions/listen")))

    async def broken(self) -> None:
        """Send messages that are none."""
        bodies = [*broken_messages(100, self.dice.randrange(10**6)), b"[" * 2000, b'{"a":' * 2000]
        with suppress(OSError, TimeoutError, ExceptionGroup):
            await raw_http.answers(self._url, [raw_http.post(body, headers_of(MODERN)) for body in bodies])

    async def _leave(self, count: int, first: bytes) -> None:
        """Open connections that send `first`, and leave them alone for some seconds."""
        opened = Strangers(self._url)
        with suppress(OSError):
            await opened.open(count, first, source=self._address)
        await asyncio.sleep(self.dice.uniform(0, 8))
        await opened.close()
