"""Redis slowed, emptied and failed over under callers of a reader process: clear errors at once, reports again after.

No test says how long an answer took. That nobody waits for Redis is seen from answers that come while it gives none.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from app.stack.redis import RedisServer
from app.stores.base import Publication
from app.stores.redis import RedisReportStore
from support import raw_http
from support.faults import FaultProxy
from support.mcp_requests import call, headers_of
from support.workers import eventually

pytestmark = pytest.mark.stack

CALLERS = 100
AWAY = b"the report store is away or did not answer within 150 ms; try again"
READ = {"jsonrpc": "2.0", "id": 7, "method": "resources/read", "params": {"uri": "report://BTCUSDT"}}
ASKED = [
    raw_http.get("/get_report?symbol=BTCUSDT"),
    raw_http.get("/reports?symbols=BTCUSDT"),
    *(
        raw_http.post(json.dumps(body).encode(), headers_of("2025-11-25"))
        for body in (call("2025-11-25"), call("2025-11-25", "get_reports", symbols=["BTCUSDT"]), READ)
    ),
]


@pytest.fixture(scope="module")
def way(redis_server: RedisServer) -> Iterator[FaultProxy]:
    """Stand between the reader and Redis."""
    with FaultProxy(redis_server.port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def reader_env(reader_env: dict[str, str], way: FaultProxy) -> dict[str, str]:
    return reader_env | {"REDIS_URL": f"redis://127.0.0.1:{way.port}/0", "TIMEOUT_MS": "150"}


@pytest.fixture
async def published(store: RedisReportStore, make_report: Callable[[str], bytes]) -> RedisReportStore:
    await store.publish([Publication("BTCUSDT", 1, make_report("BTCUSDT"))])
    return store


def kind_of(answer: raw_http.RawAnswer) -> str:
    """Return what came back in a word; anything else than a report, its absence and a clear error is itself."""
    if AWAY in answer.body:
        return "away"
    if b"mid_price" in answer.body:
        return "report"
    return "absent" if answer.body in (b"null", b'{"reports":{"BTCUSDT":null}}') else answer.body.decode()


async def crowd(url: str) -> Counter[str]:
    """Let a hundred callers ask at once, and count the answers."""
    answered = await raw_http.answers(url, ASKED * (CALLERS // len(ASKED)), connections=CALLERS)
    return Counter(map(kind_of, answered))


async def all_reports(url: str) -> bool:
    return set(await crowd(url)) == {"report"}


@asynccontextmanager
async def callers(url: str, asked: bytes) -> AsyncIterator[Counter[str]]:
    """Give the answers that twenty callers who never stop have had so far."""
    seen: Counter[str] = Counter()

    async def ask() -> None:
        while True:
            seen.update(map(kind_of, await raw_http.answers(url, [asked] * 10, connections=1)))

    tasks = [asyncio.create_task(ask()) for _ in range(20)]
    yield seen
    for task in tasks:
        assert not task.done(), "a caller was left without an answer"
        task.cancel()
    await asyncio.wait(tasks)


async def more(seen: Counter[str], kind: str) -> None:
    """Wait until another answer of this kind has come."""
    had = seen[kind]

    async def has_come() -> bool:
        return seen[kind] > had

    await eventually(has_come, f"another {kind}", 20)


@pytest.mark.usefixtures("published")
async def test_while_redis_is_late_every_caller_is_told_so_without_waiting_for_it(
    reader_url: str, way: FaultProxy
) -> None:
    await eventually(lambda: all_reports(reader_url), "reports", 20)
    way.delay(60_000)  # longer than this test lasts: whoever waited for Redis would not be answered

    for _ in range(3):
        assert set(await crowd(reader_url)) == {"away"}

    way.cut()  # what is still held back
    way.restore()
    await eventually(lambda: all_reports(reader_url), "reports again", 20)


@pytest.mark.usefixtures("published")
async def test_a_redis_that_is_slower_but_within_the_limit_costs_nothing_but_time(
    reader_url: str, way: FaultProxy
) -> None:
    way.delay(5)

    await eventually(lambda: all_reports(reader_url), "reports", 20)

    way.restore()


async def test_an_emptied_redis_has_no_reports_until_a_worker_writes_them_and_that_is_no_error(
    reader_url: str,
    redis_server: RedisServer,
    published: RedisReportStore,
    make_report: Callable[[str], bytes],
) -> None:
    await eventually(lambda: all_reports(reader_url), "reports", 20)
    async with callers(reader_url, ASKED[0]) as seen:
        await more(seen, "report")
        async with Redis.from_url(redis_server.url) as client:
            await client.flushall()
        await more(seen, "absent")
        await published.publish([Publication("BTCUSDT", 2, make_report("BTCUSDT"))])
        await more(seen, "report")


@pytest.mark.parametrize("asked", ASKED[:3], ids=["GET", "GET several", "MCP"])
async def test_after_a_failover_to_the_replica_callers_have_reports_again_by_themselves(
    reader_url: str,
    redis_server: RedisServer,
    way: FaultProxy,
    published: RedisReportStore,
    asked: bytes,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with RedisServer(tmp_path_factory.mktemp("replica")) as replica:
        async with Redis.from_url(redis_server.url) as primary, Redis.from_url(replica.url) as second:
            await primary.config_set("repl-diskless-sync-delay", "0")
            await second.replicaof("127.0.0.1", str(redis_server.port))
            await eventually(lambda: second.exists("report:BTCUSDT"), "the replica has the report", 20)
            await eventually(lambda: all_reports(reader_url), "reports", 20)
            async with callers(reader_url, asked) as seen:
                await more(seen, "report")
                redis_server.kill()
                await more(seen, "away")
                await second.replicaof("NO", "ONE")
                await asyncio.to_thread(way.lead_to, replica.port)
                await more(seen, "report")
            await eventually(lambda: all_reports(reader_url), "nothing but reports", 20)
            assert seen.keys() <= {"report", "away"}
        await asyncio.to_thread(redis_server.start)
        await asyncio.to_thread(way.lead_to, redis_server.port)
