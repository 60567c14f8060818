"""Workers and a reader on Redis behind Sentinels: the master dies with its last writes, and nobody falls back."""

import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from redis.asyncio import Redis

from app.stack.kafka import KafkaBroker
from app.stack.ports import LOOPBACK
from app.stack.process import Child
from app.stack.redis import RedisServer
from app.stack.sentinel import MASTER, WatchedRedis
from support.faults import FaultProxy
from support.ground import Ground
from support.pair import Pair, names_problem
from support.reports import Reports
from support.servers import started
from support.streams import SYMBOLS
from support.telling import Tell
from support.workers import ROOT, Deployment, eventually

pytestmark = pytest.mark.stack

_LISTENING: Final = re.compile(r"listening on (http://\S+?),")


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[WatchedRedis]:
    servers = started(lambda: WatchedRedis(tmp_path / "redis", replicas=2))
    yield servers
    servers.stop()


@pytest.fixture
async def ground(
    breakable_kafka: tuple[KafkaBroker, FaultProxy], watched: WatchedRedis, topic_prefix: str, tmp_path: Path
) -> AsyncIterator[Ground]:
    """Give a system whose workers know the Sentinels alone."""
    broker, broker_proxy = breakable_kafka
    deployment = Deployment(broker.bootstrap, watched.url, topic_prefix, tmp_path, session_timeout_ms=1000)
    await deployment.create_topics()
    reports = Reports(watched.servers[0].url, SYMBOLS)
    with FaultProxy(watched.servers[0].port) as way:
        yield Ground(deployment, reports, broker, broker_proxy, watched.servers[0], way)
    await reports.close()


@pytest.fixture
def reader_url(watched: WatchedRedis, tmp_path: Path) -> Iterator[str]:
    command = [sys.executable, "-W", "error", "-m", "report_server", "--port", "0"]
    env = {"REDIS_URL": watched.url, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "mcp")])}
    with Child("reader", command, log=tmp_path / "reader.log", env=env, cwd=tmp_path) as child:
        child.wait_ready(lambda: _LISTENING.search(child.log_tail()) is not None, 30)
        found = _LISTENING.search(child.log_tail())
        assert found is not None
        yield found.group(1)


class Callers:
    """Asks the reader for all reports all the time; an async context manager.

    Attributes:
        falls: what went back, each in one line.
        seen: the last answer of each symbol: epoch, offset, and when it was written in Unix ms.
    """

    def __init__(self, url: str) -> None:
        self._url = f"{url}/reports?detail=full&symbols={','.join(SYMBOLS)}"
        self.falls: list[str] = []
        self.seen: dict[str, tuple[int, int, int]] = {}

    async def __aenter__(self) -> "Callers":
        self._task = asyncio.create_task(self._ask())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _ask(self) -> None:
        async with aiohttp.ClientSession() as session:
            while True:
                async with session.get(self._url) as answer:
                    if answer.status == 200:
                        for symbol, report in (await answer.json())["reports"].items():
                            if report is not None:
                                self._note(symbol, report)
                await asyncio.sleep(0.01)

    def _note(self, symbol: str, report: dict[str, Any]) -> None:
        now = report["writer"]["writerToken"], report["provenance"]["offset"], report["updatedAt"]
        before = self.seen.get(symbol, now)
        if any(new < old for new, old in zip(now, before, strict=True)):
            self.falls.append(f"{symbol} fell from {before} to {now}")
        self.seen[symbol] = now

    async def fresh(self, since_ms: float) -> bool:
        """Whether every symbol was answered with a report that was written after this Unix time."""
        return len(self.seen) == len(SYMBOLS) and all(updated > since_ms for _, _, updated in self.seen.values())


async def promoted(servers: list[RedisServer]) -> RedisServer | None:
    """Return which of the servers is a master."""
    for server in servers:
        async with Redis(host=LOOPBACK, port=server.port) as client:
            said: Any = await client.role()
            if said[0] == b"master":
                return server
    return None


async def sentinels_know_all(watched: WatchedRedis) -> bool:
    for each in watched.sentinels:
        async with Redis(host=LOOPBACK, port=each.port) as sentinel:
            state: Any = await sentinel.sentinel_master(MASTER)
            if state["num-other-sentinels"] != 2 or state["num-slaves"] != 2:
                return False
    return True


async def test_a_failover_that_loses_the_last_writes_is_over_soon_and_nothing_falls_for_callers(
    ground: Ground, watched: WatchedRedis, reader_url: str, tell: Tell
) -> None:
    await eventually(partial(sentinels_know_all, watched), "the Sentinels know of each other and of the replicas")
    with Pair(ground, each=600).running() as pair:
        feed = await pair.flows()
        async with Callers(reader_url) as callers:
            await eventually(partial(callers.fresh, 0), "callers have all reports")
            # The replicas get nothing any more: what is written from here on dies with the master.
            for replica in watched.servers[1:]:
                os.kill(replica.process.pid, signal.SIGSTOP)
            async with Redis(host=LOOPBACK, port=watched.servers[0].port) as master:
                await master.client_kill_filter(_type="replica")
            lost_from = time.time() * 1000
            await eventually(partial(callers.fresh, lost_from), "callers have seen what will be lost")
            # One symbol changes hands meanwhile: its new epoch is lost, too.
            pair.first.crash()
            await eventually(partial(pair.written_by, {"w2"}), "the second worker writes all")
            tokens = await ground.reports.tokens()
            await eventually(partial(callers.fresh, time.time() * 1000), "callers have seen that, too")
            watched.servers[0].kill()
            killed = time.time()
            for replica in watched.servers[1:]:
                os.kill(replica.process.pid, signal.SIGCONT)
            await eventually(partial(names_problem, pair.second, "Redis"), "the worker names Redis")
            new = await eventually(partial(promoted, watched.servers[1:]), "a replica is promoted")
            back = time.time()
            await eventually(partial(callers.fresh, back * 1000), "callers have fresh reports", limit_sec=20)
            tell(
                f"Sentinel failover: a new master {back - killed:.2f} s after the kill of the old one, "
                f"fresh reports of {len(SYMBOLS)} symbols {time.time() - back:.2f} s after it is one"
            )
            reports = Reports(new.url, SYMBOLS)
            after = await reports.tokens()
            assert {symbol for symbol in SYMBOLS if after[symbol] < tokens[symbol]} == set()

            # The old master comes back, believes to be one, and is a replica soon.
            await asyncio.to_thread(watched.servers[0].start)

            async def demoted() -> bool:
                return await promoted([watched.servers[0]]) is None

            await eventually(demoted, "the old master is a replica")
            await feed
            pair.ground = Ground(
                ground.deployment, reports, ground.broker, ground.broker_proxy, new, ground.redis_proxy
            )
            await pair.all_reported(feed)
            await eventually(partial(callers.fresh, time.time() * 1000), "callers have fresh reports still")
            assert callers.falls == []
            assert not await names_problem(pair.second, "Redis")
        await reports.close()
        await pair.left_as_undisturbed()
