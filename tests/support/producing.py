"""The whole producer as a process, a line to it that loses things, and what a reader of its topic makes of it."""

import asyncio
import json
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, WSMsgType, web
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from agents.intake import home_partition
from app.microstructure import events
from app.stack.ports import free_ports
from app.stack.process import Child
from support.contracts import validate_event
from support.serving import serving

ROOT = Path(__file__).parents[2]
PARTITIONS = 4


class LossyLine:
    """A WebSocket proxy that loses single messages, or the connection, when told to."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._losing: set[str] = set()
        self._sockets: set[web.WebSocketResponse] = set()
        self.url = ""

    def lose_next(self, stream: str) -> None:
        """Lose the next message of `stream`."""
        self._losing.add(stream)

    @property
    def lost_all(self) -> bool:
        """Whether everything that was to be lost is."""
        return not self._losing

    async def cut(self) -> None:
        """End every connection."""
        for socket in list(self._sockets):
            await socket.close()

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        client = web.WebSocketResponse()
        await client.prepare(request)
        self._sockets.add(client)
        async with ClientSession() as session, session.ws_connect(f"{self._upstream}{request.path_qs}") as exchange:
            back = asyncio.create_task(self._forward(exchange, client))
            async for message in client:
                if message.type is WSMsgType.TEXT:
                    await exchange.send_str(message.data)
            back.cancel()
        self._sockets.discard(client)
        return client

    async def _forward(self, exchange: Any, client: web.WebSocketResponse) -> None:
        async for message in exchange:
            stream = json.loads(message.data).get("stream")
            if stream in self._losing:
                self._losing.discard(stream)
            elif not client.closed:
                await client.send_str(message.data)


@asynccontextmanager
async def lossy_line(upstream: str) -> AsyncIterator[LossyLine]:
    line = LossyLine(upstream)
    async with serving(web.get("/stream", line.handle)) as address:
        line.url = f"ws://{address}"
        try:
            yield line
        finally:
            await line.cut()


class ProducerProcess:
    """`context8 producer` as a child process."""

    def __init__(self, kafka: str, topic: str, http_url: str, ws_url: str, symbols: str | None, folder: Path) -> None:
        """Take `symbols`, or where they are `None` what `.env` in `folder` says."""
        (self.port,) = free_ports(1)
        env = {
            "KAFKA_BROKERS": kafka,
            "EVENTS_TOPIC": topic,
            "BINANCE_HTTP_URL": http_url,
            "BINANCE_WS_URL": ws_url,
            "PRODUCER_HTTP_PORT": str(self.port),
        }
        command = [sys.executable, "-m", "app.cli", "producer"]
        if symbols is not None:
            command += ["--symbols", symbols]
        cwd = ROOT if symbols is not None else folder
        self.child = Child("producer", command, log=folder / "producer.log", env=env, cwd=cwd)

    async def health(self) -> dict[str, Any]:
        """Return what /health says; nothing while nobody answers."""
        try:
            async with ClientSession() as session, session.get(f"http://127.0.0.1:{self.port}/health") as answer:
                return dict(await answer.json())
        except OSError:
            return {}

    async def counted(self, event_type: str = "") -> float:
        """Return how many events were handed over so far, of all types or of one."""
        async with ClientSession() as session, session.get(f"http://127.0.0.1:{self.port}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        counts = [line for line in lines if line.startswith("context8_producer_events_total{")]
        return sum(float(line.rpartition(" ")[2]) for line in counts if event_type in line)

    async def resyncs(self, symbol: str) -> int:
        """Return how often the symbol's book was given up."""
        return int((await self.health())["symbols"][symbol]["resyncs"])

    async def until(self, condition: Callable[[], Awaitable[bool]], what: str, limit_sec: float = 60) -> None:
        """Wait until `condition` holds; fail with the log if it does not or the process ends."""
        deadline = time.monotonic() + limit_sec
        while not await condition():
            assert self.child.running, f"ended before {what}:\n{self.child.log_tail(40)}"
            assert time.monotonic() < deadline, f"not {what}:\n{self.child.log_tail(40)}"
            await asyncio.sleep(0.05)

    async def stop(self) -> int | None:
        """Send SIGTERM and return the exit code."""
        return await asyncio.to_thread(self.child.stop, 30)


@asynccontextmanager
async def producing(*arguments: Any) -> AsyncIterator[ProducerProcess]:
    process = ProducerProcess(*arguments)
    process.child.start()
    try:
        yield process
    finally:
        process.child.kill()


async def read(kafka: str, topic: str) -> list[Any]:
    """Return every record of the topic."""
    partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
    async with AIOKafkaConsumer(
        bootstrap_servers=kafka, auto_offset_reset="earliest", enable_auto_commit=False
    ) as consumer:
        consumer.assign(partitions)
        count = sum((await consumer.end_offsets(partitions)).values())
        found: list[Any] = []
        async with asyncio.timeout(60):
            while len(found) < count:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found.extend(records)
        return found


Level = tuple[Decimal, Decimal]


@dataclass
class Followed:
    """One symbol's events, followed as a worker would, with every promise checked on the way."""

    book_id: int | None = None
    sides: tuple[dict[Decimal, Decimal], dict[Decimal, Decimal]] = field(default_factory=lambda: ({}, {}))
    books: list[str] = field(default_factory=list)
    bests: dict[int, tuple[Level, Level]] = field(default_factory=dict)
    tops: dict[int, tuple[list[Level], list[Level]]] = field(default_factory=dict)
    depths: dict[int, tuple[list[Level], list[Level]]] = field(default_factory=dict)
    trades: dict[int, dict[str, Any]] = field(default_factory=dict)
    diffs: dict[int, dict[str, Any]] = field(default_factory=dict)
    depth_times: list[int] = field(default_factory=list)
    kinds: set[str] = field(default_factory=set)

    def take(self, value: bytes, event: events.Event) -> None:
        body = json.loads(value, parse_float=Decimal)
        self.kinds.add(body["type"])
        payload = body["payload"]
        match event:
            case events.OrderBookDeltas():
                self._take_book(payload, body)
            case events.TradeTick():
                assert payload["trade_id"] > max(self.trades, default=-1), "trade ids must rise"
                self.trades[payload["trade_id"]] = body
            case events.OrderBookDepth():
                self.depth_times.append(event.ts_event)
                self.depths[payload["last_update_id"]] = (
                    [tuple(level) for level in payload["bids"]],
                    [tuple(level) for level in payload["asks"]],
                )

    def _take_book(self, payload: dict[str, Any], body: dict[str, Any]) -> None:
        final, bids, asks = payload["final_update_id"], payload["bids"], payload["asks"]
        if payload["snapshot"]:
            assert payload["first_update_id"] == final
            self.sides = ({}, {})
            self.books.append("snapshot" if bids or asks else "unknown")
            self.book_id = final if bids or asks else None
        else:
            assert self.book_id is not None, "a diff of a book that is not known"
            assert payload["first_update_id"] == self.book_id + 1, "ranges must be contiguous"
            self.book_id = final
            self.diffs[final] = body
        for side, levels in zip(self.sides, (bids, asks), strict=True):
            for price, qty in levels:
                if qty:
                    side[price] = qty
                else:
                    side.pop(price, None)
        if self.book_id is not None:
            best_bids, best_asks = sorted(self.sides[0].items())[::-1][:20], sorted(self.sides[1].items())[:20]
            self.tops[final] = (best_bids, best_asks)
            self.bests[final] = (best_bids[0], best_asks[0])


def follow(records: list[Any]) -> dict[str, Followed]:
    """Check every record by itself and return what each symbol's events add up to."""
    symbols: dict[str, Followed] = defaultdict(Followed)
    for record in sorted(records, key=lambda record: (record.partition, record.offset)):
        validate_event(record.value)
        event = events.decode(record.value, record.key)
        assert record.partition == home_partition(event.symbol, PARTITIONS)
        symbols[event.symbol].take(record.value, event)
    return symbols


async def create(kafka: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.create_topics([NewTopic(topic, PARTITIONS, 1)])
    await admin.close()
