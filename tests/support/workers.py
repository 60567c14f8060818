"""Real worker processes on a real broker and a real Redis, and the events to feed them."""

import asyncio
import json
import os
import re
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import aiohttp
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from app import topics
from app.microstructure.events import Event
from app.settings import Settings
from app.stack.ports import free_ports
from app.stack.process import Child
from support.changelog import newest_states
from support.processes import command_of, descendants, peak_memory_mb
from support.records import event_bytes

ROOT = Path(__file__).parents[2]
PARTITIONS = 4
LIMIT_SEC = 120.0
PAGE_SEC = 20.0


class Deployment:
    """Topics and settings of one test's system; workers are started with `worker`."""

    def __init__(
        self, kafka: str, redis_url: str, prefix: str, folder: Path, *, session_timeout_ms: int = 1500
    ) -> None:
        self.folder = folder
        self.settings = Settings(
            kafka_brokers=kafka,
            redis_url=redis_url,
            events_topic=f"{prefix}.events",
            worker_group=prefix,
            events_partitions=PARTITIONS,
            session_timeout_ms=session_timeout_ms,
            snapshot_interval_ms=200,
        )

    async def create_topics(self) -> None:
        """Create the topics of this deployment."""
        await topics.ensure(self.settings)

    def worker(self, name: str, **changes: str) -> "Worker":
        """Return a worker that is not started yet, with a data folder of its own."""
        metrics_port, web_port = free_ports(2)
        env = {
            "KAFKA_BROKERS": self.settings.kafka_brokers,
            "REDIS_URL": self.settings.redis_url,
            "EVENTS_TOPIC": self.settings.events_topic,
            "WORKER_GROUP": self.settings.worker_group,
            "EVENTS_PARTITIONS": str(PARTITIONS),
            "SESSION_TIMEOUT_MS": str(self.settings.session_timeout_ms),
            "SNAPSHOT_INTERVAL_MS": str(self.settings.snapshot_interval_ms),
            "WORKER_DATA_DIR": str(self.folder / name),
            "NT_NODE_ID": name,
            "NT_METRICS_PORT": str(metrics_port),
            "WORKER_WEB_PORT": str(web_port),
        }
        return Worker(name, env | changes, self.folder / f"{name}.log", web_port, metrics_port)

    async def send(self, events: Iterable[Event], delay: float = 0.0) -> None:
        """Publish events in order, as the producer does."""
        await self.send_raw(((event.symbol.encode(), event_bytes(event)) for event in events), delay)

    async def send_raw(self, records: Iterable[tuple[bytes | None, bytes | None]], delay: float = 0.0) -> None:
        """Publish keys and values in order."""
        async with AIOKafkaProducer(
            bootstrap_servers=self.settings.kafka_brokers, enable_idempotence=True, linger_ms=2
        ) as producer:
            for key, value in records:
                await producer.send(self.settings.events_topic, value, key=key)
                await asyncio.sleep(delay)

    async def read_topic(self, topic: str, partitions: int) -> list[Any]:
        """Return every record of a topic as it is now."""
        return await read_partitions(self.settings.kafka_brokers, topic, partitions)

    async def newest_states(self) -> dict[str, bytes]:
        """Each symbol's state in the changelog, of its highest epoch."""
        return newest_states(await self.read_topic(topics.changelog_name(self.settings), PARTITIONS))

    async def has_states(self, wanted: Mapping[str, bytes]) -> bool:
        """Whether the changelog has these states of these symbols; it may have others."""
        found = await self.newest_states()
        return {symbol: found.get(symbol) for symbol in wanted} == wanted

    async def members(self) -> int:
        """Return how many members the broker counts in the group of the workers."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.settings.kafka_brokers)
        await admin.start()
        try:
            (answer,) = await admin.describe_consumer_groups([self.settings.worker_group])
        finally:
            await admin.close()
        ((_, _, _, _, _, members, *_),) = answer.groups
        return len(members)

    async def committed(self) -> Mapping[int, int]:
        """Return the group's committed offsets of the events topic by partition."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.settings.kafka_brokers)
        await admin.start()
        try:
            offsets = await admin.list_consumer_group_offsets(self.settings.worker_group)
        finally:
            await admin.close()
        return {tp.partition: meta.offset for tp, meta in offsets.items() if tp.topic == self.settings.events_topic}

    async def all_is_committed(self) -> bool:
        """Whether the group's offsets are at the end of the events topic."""
        tps = [TopicPartition(self.settings.events_topic, partition) for partition in range(PARTITIONS)]
        async with AIOKafkaConsumer(bootstrap_servers=self.settings.kafka_brokers) as consumer:
            ends = await consumer.end_offsets(tps)
        return await self.committed() == {tp.partition: end for tp, end in ends.items() if end}


async def read_partitions(brokers: str, topic: str, partitions: int) -> list[Any]:
    """Return every record of a topic as it is now."""
    tps = [TopicPartition(topic, partition) for partition in range(partitions)]
    async with AIOKafkaConsumer(
        bootstrap_servers=brokers, auto_offset_reset="earliest", enable_auto_commit=False
    ) as consumer:
        consumer.assign(tps)
        left = await consumer.end_offsets(tps)
        found: list[Any] = []
        while any([await consumer.position(tp) < end for tp, end in left.items()]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found.extend(records)
        return found


class Worker(Child):
    """A worker process."""

    def __init__(self, name: str, env: dict[str, str], log: Path, web_port: int, metrics_port: int) -> None:
        super().__init__(name, [sys.executable, "-m", "app.cli", "worker"], log=log, env=env, cwd=ROOT)
        self.env = env
        self.web_port = web_port
        self.metrics_port = metrics_port
        self.paused_pid: int | None = None

    def under(self, *command: str) -> Self:
        """Let it be started by `command`, which takes a command as its last arguments."""
        self._command = [*command, *self._command]
        return self

    @property
    def working_pid(self) -> int:
        """The process that runs Faust, whatever watches over it."""
        for pid in descendants(self.pid):
            if b"\0-m\0app\0worker" in command_of(pid):
                return pid
        return self.pid

    def crash(self) -> None:
        """Kill the working process with SIGKILL and leave what watches over it alone."""
        os.kill(self.working_pid, signal.SIGKILL)

    def pause(self) -> None:
        """Let the working process hang, as a frozen host would."""
        self.paused_pid = self.working_pid
        os.kill(self.paused_pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on, if nobody killed it meanwhile."""
        if self.paused_pid is not None and self.running:
            os.kill(self.paused_pid, signal.SIGCONT)
        self.paused_pid = None

    async def ended(self) -> bool:
        """Whether the process is gone."""
        return not self.running

    async def partitions(self) -> set[int]:
        """The partitions that it says are its own."""
        return set((await self.health()).get("partitions", ()))

    @property
    def most_memory_mb(self) -> float:
        """The most memory that it has had."""
        return peak_memory_mb(self.working_pid)

    async def metric(self, name: str) -> float:
        """The sum of a metric over all labels, 0 of a worker that has ended."""
        lines = (await self.metrics()).splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if re.match(rf"{name}[{{ ]", line))

    async def health(self) -> dict[str, Any]:
        """Return what /health says, an empty dictionary while nobody answers."""
        try:
            return dict(json.loads(await self._get(self.web_port, "/health")))
        except (OSError, aiohttp.ClientError, ValueError):
            return {}

    async def metrics(self) -> str:
        """Return the Prometheus page as soon as it is served, after all else maybe; nothing of one that ended."""
        until = time.monotonic() + PAGE_SEC
        while True:
            try:
                return await self._get(self.metrics_port, "/metrics")
            except (OSError, aiohttp.ClientError):
                if not self.running or time.monotonic() > until:
                    return ""
            await asyncio.sleep(0.05)

    async def _get(self, port: int, path: str) -> str:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session,
            session.get(f"http://127.0.0.1:{port}{path}") as answer,
        ):
            return await answer.text()


async def eventually[T](look: Callable[[], Awaitable[T | None]], what: str, limit_sec: float = LIMIT_SEC) -> T:
    """Return the first true value of `look`; fail with `what` if there is none within the limit."""
    deadline = time.monotonic() + limit_sec
    while not (value := await look()):
        assert time.monotonic() < deadline, f"not within {limit_sec:g} s: {what}"
        await asyncio.sleep(0.02)
    return value


async def all_shared(*workers: Worker) -> bool:
    """Whether each of the workers has partitions, together all of them, and none twice."""
    owned = [await worker.partitions() for worker in workers]
    return all(owned) and sum(map(len, owned)) == PARTITIONS and set().union(*owned) == set(range(PARTITIONS))
