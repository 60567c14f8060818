"""As many streams as there may be, each with as many symbols as it may have, and clients that do not read them."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, suppress
from statistics import median, quantiles
from urllib.parse import urlsplit

import httpx2
import pytest

from app.stores.base import Publication
from app.stores.redis import RedisReportStore
from report_server.arguments import MOST_SYMBOLS
from report_server.openings import MOST_OF_A_CLIENT, MOST_STREAMS
from report_server.protocol import READ_SEC
from support.mcp_requests import MODERN, headers_of, request
from support.raw_http import get, post
from support.strangers import Strangers
from support.telling import Tell
from support.workers import eventually

pytestmark = pytest.mark.stack

NAMES = [f"S{number}USDT" for number in range(MOST_SYMBOLS)]
ROUNDS_PER_SEC = 4
DEAF = 16
MOST_ANSWER_SEC = 5.0  # on a machine that is busy with tests

STREAM = get("/stream?symbols=" + ",".join(NAMES))
LISTEN = post(
    json.dumps(
        request(
            MODERN,
            "subscriptions/listen",
            notifications={"resourceSubscriptions": [f"report://{name}" for name in NAMES]},
        )
    ).encode(),
    headers_of(MODERN, None, "subscriptions/listen"),
)


@pytest.fixture
async def market(store: RedisReportStore, make_report: Callable[[str], bytes]) -> AsyncIterator[None]:
    """Write a report of each symbol four times a second, as workers do."""

    reports = {name: json.loads(make_report(name)) for name in NAMES}

    def newer(name: str) -> Publication:
        report = reports[name]
        report["updatedAt"] += 1000 // ROUNDS_PER_SEC
        report["provenance"]["offset"] += 1
        return Publication(name, 1, json.dumps(report).encode())

    async def write() -> None:
        while True:
            began = time.monotonic()
            await store.publish([newer(name) for name in NAMES])
            await asyncio.sleep(max(0.0, 1 / ROUNDS_PER_SEC - (time.monotonic() - began)))

    writing = asyncio.create_task(write())
    yield
    writing.cancel()
    with suppress(asyncio.CancelledError):
        await writing


@pytest.fixture
async def strangers(reader_url: str) -> AsyncIterator[Strangers]:
    made = Strangers(reader_url)
    yield made
    await made.close()


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


async def answers(reader_url: str, seconds: float) -> list[float]:
    """Ask for a report again and again over one connection, and return how long each answer took."""
    took, until = [], time.monotonic() + seconds
    async with httpx2.AsyncClient(base_url=reader_url, timeout=10, trust_env=False) as client:
        while time.monotonic() < until:
            began = time.monotonic()
            assert (await client.get(f"/get_report?symbol={NAMES[0]}")).status_code == 200
            took.append(time.monotonic() - began)
            await asyncio.sleep(0.01)
    return took


async def shown(reader_url: str, metric: str) -> float:
    async with httpx2.AsyncClient(base_url=reader_url, timeout=10, trust_env=False) as client:
        lines = (await client.get("/metrics")).text.splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(metric))


async def drain(reader: asyncio.StreamReader) -> int:
    """Read to the end; return how many bytes there were."""
    count = 0
    with suppress(OSError):
        while piece := await reader.read(1 << 16):
            count += len(piece)
    return count


async def test_answers_come_in_time_while_all_streams_are_taken(
    reader_url: str, market: None, strangers: Strangers, tell: Tell
) -> None:
    usual = await answers(reader_url, 3)
    await strangers.open(MOST_OF_A_CLIENT, STREAM)
    await strangers.open(MOST_OF_A_CLIENT, LISTEN, source="127.0.0.2")
    for reader, _ in strangers.pairs:
        assert (await asyncio.wait_for(reader.readline(), 20)).startswith(b"HTTP/1.1 200")
    draining = [asyncio.create_task(drain(reader)) for reader, _ in strangers.pairs]

    async def all_open() -> bool:
        return await shown(reader_url, "context8_mcp_streams") == MOST_STREAMS

    await eventually(all_open, "all are open")
    took = await answers(reader_url, 8)
    for name, waits in (("without streams", usual), (f"with {MOST_STREAMS} streams of {len(NAMES)} symbols", took)):
        p99 = quantiles(waits, n=100)[-1]
        tell(f"{name}: answers after {median(waits) * 1000:.1f} ms, P99 {p99 * 1000:.1f} ms")
    assert max(took) < MOST_ANSWER_SEC

    more = Strangers(reader_url)
    await more.open(1, STREAM, source="127.0.0.3")
    ((reader, _),) = more.pairs
    assert (await asyncio.wait_for(reader.readline(), 20)).startswith(b"HTTP/1.1 503")
    await more.close()
    await strangers.close()
    counts = await asyncio.gather(*draining)
    for what, some in (("stream", counts[:MOST_OF_A_CLIENT]), ("listener", counts[MOST_OF_A_CLIENT:])):
        tell(f"each {what} got {min(some) / 1000:.0f} to {max(some) / 1000:.0f} KB")
    assert min(counts) > 20_000, "each was told of changes"


async def test_who_does_not_read_a_stream_loses_it(
    reader_url: str, market: None, opened: ExitStack, tell: Tell
) -> None:
    address, began = urlsplit(reader_url), time.monotonic()
    for _ in range(DEAF):
        deaf = opened.enter_context(socket.socket())
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect((address.hostname, address.port))
        deaf.sendall(STREAM)
    took = await answers(reader_url, 3)
    tell(f"{DEAF} streams that nobody reads: answers after at most {max(took) * 1000:.0f} ms")
    assert max(took) < MOST_ANSWER_SEC

    async def all_gone() -> bool:
        return await shown(reader_url, 'context8_mcp_refused_total{reason="slow_reader"}') == DEAF

    await eventually(all_gone, "all are closed", 60)
    tell(f"all closed after {time.monotonic() - began:.1f} s")
    assert time.monotonic() - began > READ_SEC, "a client that is slow for a moment keeps its stream"
    assert await shown(reader_url, "context8_mcp_streams") == 0
