"""The reader's service on a real Redis that is slow, silent, or cut off, by a proxy in between."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from urllib.parse import urlsplit

import pytest

from app.stores.base import Publication
from app.stores.redis import RedisReportStore
from app.stores.redis_reader import RedisReportReader
from report_server.service import Outcome, ReportService
from support.workers import eventually

pytestmark = pytest.mark.stack

LIMIT_SEC = 0.3


class Proxy:
    """Passes bytes between the reader and Redis; `delay_sec` holds answers back, `cut` ends connections."""

    def __init__(self, redis_url: str) -> None:
        self._target = urlsplit(redis_url)
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.delay_sec = 0.0
        self.requests = 0
        self.open = 0

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.open += 1
        self._writers.add(writer)
        up_reader, up_writer = await asyncio.open_connection(self._target.hostname, self._target.port)
        with suppress(OSError):
            await asyncio.gather(self._pass(reader, up_writer, 0), self._pass(up_reader, writer, 1))
        for each in (writer, up_writer):
            each.close()
        self._writers.discard(writer)
        self.open -= 1

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, back: int) -> None:
        while data := await reader.read(65_536):
            if back:
                await asyncio.sleep(self.delay_sec)
            else:
                self.requests += data.count(b"MGET")
            writer.write(data)
            await writer.drain()
        writer.close()

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def close(self) -> None:
        assert self._server is not None
        self.delay_sec = 0.0
        self._server.close()
        self.cut()
        while self._tasks:
            await asyncio.wait(self._tasks)


@pytest.fixture
async def proxy(redis_url: str) -> AsyncIterator[Proxy]:
    made = Proxy(redis_url)
    yield made
    await made.close()


@pytest.fixture
async def service(proxy: Proxy, redis_url: str, make_report: Callable[[str], bytes]) -> AsyncIterator[ReportService]:
    worker = RedisReportStore(redis_url, password=None, ttl_sec=300, timeout_sec=5.0)
    await worker.publish([Publication("BTCUSDT", 1, make_report("BTCUSDT"))])
    await worker.close()
    reader = RedisReportReader(await proxy.start(), password=None, timeout_sec=LIMIT_SEC)
    made = ReportService(reader, LIMIT_SEC, 600_000)
    yield made
    await made.close()
    await reader.close()


async def outcomes(service: ReportService, count: int) -> set[Outcome]:
    return {answer.outcome for answer in await asyncio.gather(*(service.get_report("BTCUSDT") for _ in range(count)))}


async def found(service: ReportService) -> bool:
    return (await service.get_report("BTCUSDT")).outcome is Outcome.FOUND


async def test_a_slow_store_costs_errors_not_a_queue_and_is_found_again(service: ReportService, proxy: Proxy) -> None:
    assert await outcomes(service, 100) == {Outcome.FOUND}
    proxy.delay_sec = 3 * LIMIT_SEC
    asked_before = proxy.requests

    for _ in range(5):
        assert await outcomes(service, 200) == {Outcome.UNAVAILABLE}
    assert proxy.requests - asked_before <= 3, "a thousand calls, and next to nothing sent to a store that is late"

    proxy.delay_sec = 0.0
    await eventually(lambda: found(service), "reports again", 10)


async def test_other_questions_fail_as_fast(service: ReportService, proxy: Proxy) -> None:
    assert (await service.list_symbols()).outcome is Outcome.FOUND
    proxy.delay_sec = 3 * LIMIT_SEC
    assert await outcomes(service, 1) == {Outcome.UNAVAILABLE}

    asked_before = proxy.requests
    answers = []
    for _ in range(50):
        answers += [await service.list_symbols(), await service.get_reports(["BTCUSDT"])]

    assert {answer.outcome for answer in answers} == {Outcome.UNAVAILABLE}
    assert proxy.requests - asked_before <= 3


async def test_a_connection_that_was_cut_while_idle_costs_no_error(service: ReportService, proxy: Proxy) -> None:
    assert await outcomes(service, 1) == {Outcome.FOUND}

    for _ in range(5):
        proxy.cut()
        assert await outcomes(service, 10) == {Outcome.FOUND}


async def test_failures_leave_no_connections_behind(service: ReportService, proxy: Proxy) -> None:
    proxy.delay_sec = 3 * LIMIT_SEC
    await outcomes(service, 10)
    proxy.delay_sec = 0.0
    await eventually(lambda: found(service), "reports again", 10)

    async def few() -> bool:
        return proxy.open <= 2

    await eventually(few, "old connections are gone", 10)
