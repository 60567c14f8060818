"""An hour of strangers at the topic and at the reader, all at once: who does no harm notices nothing.

HOSTILE_SECONDS=300 for another time than an hour, HOSTILE_SEED=7 to play one again.
"""

import asyncio
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Final

import httpx2
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from app import aiokafka_cures
from app.microstructure.engine import EngineParams, SymbolEngine
from app.microstructure.events import BadEventError, decode
from app.stack.process import Child
from support.ground import Ground
from support.hostility import ReaderStranger, TopicStranger
from support.markets import START
from support.processes import peak_memory_mb
from support.reports import Watch
from support.streams import SYMBOLS, Feed, interleaved
from support.telling import Tell
from support.workers import PARTITIONS, Deployment, Worker, eventually

SECONDS: Final = int(os.environ.get("HOSTILE_SECONDS", "3600"))
SEED: Final = os.environ.get("HOSTILE_SEED", "1")
PER_SEC: Final = 4
ROOT: Final = Path(__file__).parents[2]
MOST_GAP_SEC: Final = 5.0
MOST_ANSWER_SEC: Final = 2.0
MOST_WORKER_MB: Final = 600
MOST_READER_MB: Final = 400
_YEAR_NS: Final = 365 * 86_400 * 10**9

pytestmark = [pytest.mark.stack, pytest.mark.long, pytest.mark.timeout(SECONDS + 600)]


@pytest.fixture
def reader(ground: Ground, tmp_path: Path) -> Iterator[tuple[Child, str]]:
    env = {
        "REDIS_URL": ground.redis.url,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "mcp")]),
        "STALE_AFTER_MS": "600000",
    }
    command = [sys.executable, "-m", "report_server", "--port", "0"]
    listening = re.compile(r"listening on (http://\S+?),")
    with Child("reader", command, log=tmp_path / "reader.log", env=env, cwd=tmp_path) as child:
        child.wait_ready(lambda: listening.search(child.log_tail()) is not None, 30)
        found = listening.search(child.log.read_text())
        assert found is not None
        yield child, found[1]


class Asking:
    """Asks a reader for a report ten times a second, and notes how long each answer takes."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.took: list[float] = []

    async def run(self) -> None:
        while True:
            async with httpx2.AsyncClient(base_url=self._url, timeout=10, trust_env=False) as client:
                for _ in range(50):
                    began = time.monotonic()
                    answer = await client.get("/get_report?symbol=BTCUSDT")
                    assert answer.status_code == 200, answer.text
                    self.took.append(time.monotonic() - began)
                    await asyncio.sleep(0.1)


async def test_strangers_cost_the_others_nothing(ground: Ground, reader: tuple[Child, str], tell: Tell) -> None:
    aiokafka_cures.install()
    deployment, (server, url) = ground.deployment, reader
    brokers, topic = ground.broker.bootstrap, deployment.settings.events_topic
    with deployment.worker("w1") as worker:
        feed = Feed(brokers, topic, interleaved(SECONDS * PER_SEC), PER_SEC * len(SYMBOLS))
        await eventually(ground.reports.complete, "every symbol has a report")
        pids, asking = (worker.working_pid, server.pid), Asking(url)
        strangers = (
            *(TopicStranger(brokers, topic, f"{SEED}/{name}") for name in ("a", "b")),
            *(ReaderStranger(url, f"127.0.0.{number}", f"{SEED}/{number}") for number in (2, 3)),
        )
        async with Watch(ground.reports, every_sec=0.05) as watch:
            questions = asyncio.create_task(asking.run())
            await asyncio.gather(feed, *(each.run(SECONDS - 10) for each in strangers))
            assert not questions.done(), questions.exception()
            questions.cancel()
        tell(
            f"seed {SEED}, {SECONDS} s: {dict(sum((each.done for each in strangers), start=strangers[0].done.copy()))}"
        )
        tell(f"longest gap of any traded symbol {max(watch.gaps.values()):.2f} s")
        tell(
            f"{len(asking.took)} answers of the reader: {median(asking.took) * 1000:.1f} ms, "
            f"P99 {quantiles(asking.took, n=100)[-1] * 1000:.1f} ms, at most {max(asking.took) * 1000:.0f} ms"
        )
        reader_mb = peak_memory_mb(server.pid)
        tell(f"memory at most: worker {worker.most_memory_mb:.0f} MB, reader {reader_mb:.0f} MB")
        assert watch.faults == []
        assert max(watch.gaps.values()) < MOST_GAP_SEC
        assert max(asking.took) < MOST_ANSWER_SEC
        assert (worker.most_memory_mb < MOST_WORKER_MB, reader_mb < MOST_READER_MB) == (True, True)
        await eventually(deployment.all_is_committed, "all is committed")
        wanted = await expected(deployment)
        await eventually(partial(deployment.has_states, wanted), "each traded symbol has the state of a replay")
        await eventually(partial(_is_well, worker), "a minute later nothing is wrong", limit_sec=90)
        assert (worker.working_pid, server.pid) == pids, "nobody has ended"
        assert worker.stop() == 0


async def records(deployment: Deployment) -> AsyncIterator[tuple[int, bytes | None, bytes]]:
    """Yield offset, key and value of each record that may be an event, partition by partition."""
    tps = [TopicPartition(deployment.settings.events_topic, partition) for partition in range(PARTITIONS)]
    async with AIOKafkaConsumer(
        bootstrap_servers=deployment.settings.kafka_brokers, auto_offset_reset="earliest", enable_auto_commit=False
    ) as consumer:
        ends = await consumer.end_offsets(tps)
        consumer.assign(tps)
        while any([await consumer.position(tp) < end for tp, end in ends.items()]):
            for some in (await consumer.getmany(timeout_ms=200)).values():
                for each in some:
                    if isinstance(each.value, bytes):
                        yield each.offset, each.key, each.value


async def expected(deployment: Deployment) -> dict[str, bytes]:
    """The states of engines that have seen the topic's events of the traded symbols, and nothing else."""
    engines = {symbol: SymbolEngine(symbol, EngineParams()) for symbol in SYMBOLS}
    async for offset, key, value in records(deployment):
        try:
            event = decode(value, key)
        except BadEventError:
            continue
        if event.symbol in engines and event.ts_event < START + _YEAR_NS:
            engines[event.symbol].apply(event, offset)
    return {symbol: engine.snapshot() for symbol, engine in engines.items()}


async def _is_well(worker: Worker) -> bool:
    return (await worker.health()).get("status") == "ok"
