"""Clients that connect and do not ask: what they leave open is bounded, and everybody else is answered."""

import asyncio
import resource
import time
from collections.abc import AsyncIterator, Callable

import httpx2
import pytest

from app.stores.base import Publication
from app.stores.redis import RedisReportStore
from report_server.openings import MOST_OF_A_CLIENT
from report_server.protocol import HEAD_SEC, MAX_OF_AN_ADDRESS, Connections, bounded_by, most_connections
from support.strangers import Strangers
from support.telling import Tell
from support.workers import eventually

pytestmark = pytest.mark.stack

MANY = 2500
HALF_A_HEAD = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture
async def strangers(reader_url: str) -> AsyncIterator[Strangers]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2 * MANY)), hard))
    made = Strangers(reader_url)
    yield made
    await made.close()


@pytest.fixture
async def published(store: RedisReportStore, make_report: Callable[[str], bytes]) -> None:
    await store.publish([Publication("BTCUSDT", 1, make_report("BTCUSDT"))])


async def answers(reader_url: str) -> list[float]:
    """Ask for health and a report over new connections, and return how long each answer took."""
    took = []
    for path in ("/health/live", "/get_report?symbol=BTCUSDT") * 10:
        began = time.monotonic()
        async with httpx2.AsyncClient(base_url=reader_url, timeout=10, trust_env=False) as client:
            assert (await client.get(path)).status_code == 200, path
        took.append(time.monotonic() - began)
    return sorted(took)


@pytest.mark.parametrize("first", [b"", HALF_A_HEAD, b"\r\n"], ids=["nothing", "half a head", "an empty line"])
async def test_who_leaves_connections_open_keeps_nobody_from_an_answer(
    reader_url: str, strangers: Strangers, published: None, first: bytes, tell: Tell
) -> None:
    began = time.monotonic()
    await strangers.open(MANY, first)
    took = await answers(reader_url)
    tell(f"{MANY} connections that sent {first!r:.20}: answers after {took[10] * 1000:.0f}/{took[-1] * 1000:.0f} ms")
    assert took[-1] < HEAD_SEC / 2, "nobody waits until the others have gone"

    assert MANY - await strangers.closed() <= MAX_OF_AN_ADDRESS

    async def all_closed() -> bool:
        await strangers.trickle(b"X" if first else b"")
        return await strangers.closed() == MANY

    await eventually(all_closed, "all are closed", HEAD_SEC + 10)
    tell(f"all closed {time.monotonic() - began:.1f} s after the first")
    async with httpx2.AsyncClient(base_url=reader_url, timeout=10, trust_env=False) as client:
        metrics = (await client.get("/metrics")).text
    assert 'reason="connections"} 0.0' not in metrics
    assert 'reason="slow_head"} 0.0' not in metrics


async def test_one_address_leaves_room_for_others(reader_url: str, strangers: Strangers, published: None) -> None:
    quiet = Strangers(reader_url)
    await quiet.open(100, HALF_A_HEAD, source="127.0.0.2")
    await strangers.open(MANY, HALF_A_HEAD)
    await asyncio.sleep(0.2)
    assert await quiet.closed() == 0
    await quiet.trickle(b"\r\n")
    for reader, _ in quiet.pairs:
        assert (await asyncio.wait_for(reader.readline(), 5)).startswith(b"HTTP/1.1 200")
    await quiet.close()


async def test_one_address_cannot_take_all_streams(reader_url: str, strangers: Strangers, published: None) -> None:
    ask = b"GET /stream?symbols=BTCUSDT HTTP/1.1\r\nHost: localhost\r\n\r\n"
    await strangers.open(MOST_OF_A_CLIENT, ask)
    statuses = [await asyncio.wait_for(reader.readline(), 5) for reader, _ in strangers.pairs]
    assert set(statuses) == {b"HTTP/1.1 200 OK\r\n"}
    await strangers.open(1, ask)
    await strangers.open(1, ask, source="127.0.0.2")
    one_more, other = [await asyncio.wait_for(reader.readline(), 5) for reader, _ in strangers.pairs[-2:]]
    assert (one_more[:12], other[:12]) == (b"HTTP/1.1 503", b"HTTP/1.1 200")


async def test_a_body_that_never_comes_makes_room_for_who_asks(
    reader_url: str, strangers: Strangers, published: None
) -> None:
    head = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"
    await strangers.open(MANY, head)
    assert (await answers(reader_url))[-1] < 2


async def test_a_connection_may_ask_again_and_again_and_be_quiet_between(
    reader_url: str, strangers: Strangers, published: None
) -> None:
    await strangers.open(1, b"")
    ((reader, writer),) = strangers.pairs
    for pause in (0.0, 1.0, 3.0, 0.0):
        await asyncio.sleep(pause)
        writer.write(HALF_A_HEAD)
        await asyncio.sleep(0.3)
        writer.write(b"\r\n")
        assert await asyncio.wait_for(reader.readline(), 5) == b"HTTP/1.1 200 OK\r\n"
        while await asyncio.wait_for(reader.readline(), 5) != b"\r\n":
            pass
        await reader.read(1000)


def test_there_are_no_more_connections_than_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    for soft, hard, most in ((1024, 4096, 2000), (1024, 1024, 896), (256, 256, 128), (1 << 20, 1 << 20, 2000)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, limits=(soft, hard): limits)
        assert most_connections() == most
    assert asked == [(2128, 4096)]


def test_connections_of_a_process_count_together() -> None:
    connections = Connections()
    assert bounded_by(connections).bounds is connections
