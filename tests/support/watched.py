"""A whole system with a Prometheus on it whose rules are in a hurry, and the faults that alerts are there for."""

import asyncio
import os
import random
import re
import signal
import sys
import threading
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final, cast

from aiohttp import ClientError, ClientSession, ClientTimeout
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from agents.intake import home_partition
from app.settings import Settings
from app.stack.ports import LOOPBACK, free_ports
from app.stack.process import Child
from app.stack.prometheus import Prometheus, targets
from app.stack.system import System, SystemOptions
from support.demos import free_block
from support.faults import FaultProxy, NotTraceableError, main_thread_stopped
from support.markets import trade
from support.observing import Answers, hastened, not_here
from support.processes import command_of, descendants
from support.records import PARTITIONS, TOPIC, event_bytes
from support.wall_clock import WallClock
from support.workers import ROOT, Deployment, eventually

TIMES: Final = 60.0
SYMBOLS: Final = ("BTCUSDT", "ETHUSDT")
_REFUSED: Final = "NOSUCHUSDT"
_FLOOD: Final = 4000
_TRIES: Final = 20
_WORKERS: Final = "context8-worker"
_SETTINGS: Final = {
    "EXCHANGE_IDLE_MS": "1000",
    # Several fall into each of the ranges of the rules, which are short here.
    "SLOW_CYCLE_MS": "1000",
    # Some two seconds of what the simulated market sends.
    "PRODUCER_QUEUE_LIMIT": "1000",
    # A limit that slow answers stay within, as they must for an alert about them.
    "TIMEOUT_MS": "2000",
}


class LyingLine(FaultProxy):
    """A way to the exchange; while it `lies`, the best quantities that the exchange tells are not those of its book."""

    lies = False

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await super()._pass(cast("asyncio.StreamReader", _Bent(reader, self)), writer)


class _Bent:
    """What a line reads, bent while it lies. The length stays, and so the frames around the text stay true."""

    def __init__(self, reader: asyncio.StreamReader, line: LyingLine) -> None:
        self._reader = reader
        self._line = line

    async def read(self, size: int) -> bytes:
        chunk = await self._reader.read(size)
        if not self._line.lies:
            return chunk
        return re.sub(rb'"B":"(\d)', lambda found: b'"B":"%d' % (1 + int(found[1]) % 9), chunk)


class _InAHurry(System):
    """A system for faults that last seconds."""

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | _SETTINGS


class Watched:
    """Producer, two workers, reader and what they need, with a Prometheus.

    The reader's way to Redis can be slowed, and the producer's to the exchange can lie.

    Attributes:
        reader_clock: the wall clock that the reader sees.
        third: a worker for a while, which Prometheus does not know; with less patience than its host needs.
        second: a producer that somebody starts by mistake, of a symbol that the first one has.
        left_out: alerts whose fault this machine does not let us make.
    """

    def __init__(self, folder: Path) -> None:
        self.system = system = _InAHurry(SystemOptions(SYMBOLS, workers=2, port_base=free_block(workers=3)), folder)
        self.slow = FaultProxy(system.ports.redis)
        self.line = LyingLine(system.ports.exchange)
        self._folder = folder
        self._deployment = Deployment(system.kafka.bootstrap, system.redis.url, Settings().worker_group, folder)
        self.left_out: set[str] = set()
        system.producer = self._child(
            "producer", SYMBOLS=",".join((*SYMBOLS, _REFUSED)), BINANCE_WS_URL=f"ws://{LOOPBACK}:{self.line.port}"
        )
        self.reader_clock = WallClock(folder / "reader-clock")
        system.reader = self._child(
            "reader",
            REDIS_URL=f"redis://{LOOPBACK}:{self.slow.port}/0",
            **self.reader_clock.env(f"{ROOT}:{ROOT / 'mcp'}"),
        )
        web_port, metrics_port = system.ports.of_worker(2)
        self.third = self._child(
            "worker",
            NT_NODE_ID="w3",
            WORKER_DATA_DIR=str(folder / "worker-3"),
            WORKER_WEB_PORT=str(web_port),
            NT_METRICS_PORT=str(metrics_port),
            SESSION_TIMEOUT_MS="500",
        )
        self.second = self._child("producer", SYMBOLS=SYMBOLS[0], PRODUCER_HTTP_PORT=str(free_ports(1)[0]))
        self._targets = targets(system.ports, 2)
        self.prometheus = Prometheus(
            folder / "prometheus",
            self._targets,
            rules=hastened(TIMES, folder / "rules"),
            interval="500ms",
        )
        self.answers = Answers(self.prometheus.url)

    @contextmanager
    def running(self) -> Iterator["Watched"]:
        """Run everything, with somebody who asks for reports all the time."""
        system, done = self.system, threading.Event()
        caller = threading.Thread(target=self._ask, args=(done,), name="caller")
        try:
            with self.slow, self.line:
                system.start_servers()
                with ThreadPoolExecutor() as pool:
                    parts = (self.prometheus.start, system.start_exchange, system.start_workers, system.start_reader)
                    for started in [pool.submit(part) for part in parts]:
                        started.result()
                system.start_producer()
                caller.start()
                try:
                    yield self
                finally:
                    done.set()
                    caller.join()
        finally:
            self.prometheus.stop()
            for child in (system.producer, system.exchange, *system.workers, self.third, system.reader):
                child.kill()
            system.redis.kill()
            system.kafka.kill()

    async def fires(self, *names: str, under: Callable[[], Awaitable[None]] | None = None) -> None:
        """Wait until these alerts fire, and say so in words; `under` is a fault to make again and again meanwhile."""

        async def fire() -> bool:
            if under is not None:
                await under()
            return set(names) <= (await self.answers.firing()).keys()

        await eventually(fire, f"{', '.join(names)} fire: see {self._folder}")
        said = [alert["summary"] for alerts in (await self.answers.firing()).values() for alert in alerts]
        assert not [summary for summary in said if "<" in summary], "a template that failed"

    async def quiet(self) -> None:
        """Wait until no alert fires and none is about to."""
        await eventually(self._is_quiet, f"no alert is left: see {self._folder}")

    async def page(self, job: str) -> str:
        """Return what the first process of a job exports."""
        async with ClientSession() as session, session.get(f"http://{self._targets[job][0]}/metrics") as answer:
            return await answer.text()

    @contextmanager
    def frozen(self, child: Child) -> Iterator[None]:
        """Let a process hang, as a host would that is overloaded."""
        pid = _working(child)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    @asynccontextmanager
    async def stuck(self, worker: Child) -> AsyncIterator[None]:
        """Let the main thread of a worker hang, as a disk would; its threads for Kafka and for metrics go on."""
        try:
            # Whoever holds the interpreter's lock while it hangs takes the other threads along.
            for _ in range(_TRIES):
                with main_thread_stopped(_working(worker)):
                    if await self._tells(worker):
                        yield
                        return
        except NotTraceableError as error:
            self.left_out.add("WorkerStuck")
            not_here(str(error))
        raise AssertionError(f"{worker.name} was never stopped outside of the interpreter's lock")

    async def owner(self, symbol: str) -> Child:
        """Return the worker that tells of a symbol; there is one while all is quiet."""
        (told,) = await self.answers.query(f'context8_report_age_ms{{symbol="{symbol}"}}')
        return self.system.workers[self._targets[_WORKERS].index(told["metric"]["instance"])]

    def damage_tables(self, index: int) -> None:
        """Overwrite what RocksDB reads first of a worker that does not run."""
        (self._folder / f"worker-{index + 1}" / "snapshots" / "CURRENT").write_bytes(bytes(64))

    async def delete_events(self) -> None:
        """Let the topic have no events any more, after some that came now."""
        brokers = self.system.kafka.bootstrap
        tps = [TopicPartition(TOPIC, each) for each in range(PARTITIONS)]
        async with AIOKafkaConsumer(bootstrap_servers=brokers) as consumer:
            consumer.assign(tps)
            ends = dict(await consumer.end_offsets(tps))

            async def more() -> bool:
                later = await consumer.end_offsets(tps)
                return sum(int(later[tp] > ends[tp]) for tp in tps) == len(SYMBOLS)

            await eventually(more, "events of every symbol wait")
            ends = dict(await consumer.end_offsets(tps))
        admin = AIOKafkaAdminClient(bootstrap_servers=brokers)
        await admin.start()
        await admin.delete_records({tp: RecordsToDelete(end) for tp, end in ends.items()})
        await admin.close()

    async def flood(self, producer: AIOKafkaProducer, symbol: str) -> None:
        """Send a worker more than it can read at once: an old trade, again and again, as a producer gone wrong does."""
        key, value = symbol.encode(), event_bytes(trade(1, symbol=symbol))
        batch = producer.create_batch()
        for _ in range(_FLOOD):
            batch.append(key=key, value=value, timestamp=None)
        await (await producer.send_batch(batch, TOPIC, partition=home_partition(symbol, PARTITIONS)))

    async def has_workers(self, count: int) -> bool:
        """Whether the group of the workers has so many members."""
        return await self._deployment.members() == count

    def address_of(self, worker: Child) -> str:
        """Return where a worker is scraped, by which Prometheus knows it."""
        return self._targets[_WORKERS][self.system.workers.index(worker)]

    async def _tells(self, worker: Child) -> bool:
        page = f"http://{self.address_of(worker)}/metrics"
        try:
            async with ClientSession(timeout=ClientTimeout(1)) as session, session.get(page):
                return True
        except (ClientError, TimeoutError):
            return False

    def _child(self, name: str, **env: str) -> Child:
        command = [sys.executable, "-m", "app.cli", name]
        env = self.system.environment | env
        return Child(name, command, log=self._folder / f"{name}.log", env=env, cwd=ROOT)

    async def _is_quiet(self) -> bool:
        return not (await self.answers.get("alerts"))["alerts"]

    def _ask(self, done: threading.Event) -> None:
        symbols = (*SYMBOLS, _REFUSED)
        while not done.wait(0.05):
            symbol = random.choice(symbols)
            with suppress(OSError):
                address = f"{self.system.reader_url}/get_report?symbol={symbol}"
                with urllib.request.urlopen(address, timeout=2) as answer:
                    answer.read()


def _working(child: Child) -> int:
    """The process that does a child's work, whatever watches over it."""
    workers = [pid for pid in descendants(child.pid) if b"\0-m\0app\0worker" in command_of(pid)]
    return workers[0] if workers else child.pid
