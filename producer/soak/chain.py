"""Exchanges, producers and Kafka as processes, and what is measured of them while they run."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
from aiohttp import ClientError, ClientSession
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from prometheus_client.parser import text_string_to_metric_families

from app.microstructure import rfc3339
from app.stack.kafka import KafkaBroker
from app.stack.ports import free_ports
from app.stack.process import Child
from producer.soak import machine

PARTITIONS: Final = 32
DISTINCT: Final = 10  # markets that an exchange simulates; the simulator must not be what gives way first
_PREFIX: Final = "context8_producer_"
_START_LIMIT: Final = 120.0
_SETTLE: Final = 3.0
_NEWEST: Final = 5000


@dataclass(frozen=True)
class Shard:
    """One producer with the exchange that it reads."""

    symbols: list[str]
    exchange: Child
    exchange_url: str
    producer: Child
    url: str
    stages: Path


@dataclass(frozen=True)
class Sample:
    """What is read of a shard once.

    Attributes:
        metrics: the producer's counters and gauges, summed over their labels.
        known: symbols whose book is known.
        stages: samples of the producer's main thread by stage.
        main, total: CPU seconds of its main thread and of all of it.
        exchange, behind_ms: CPU seconds of the exchange, and by how much its market is late.
    """

    at: float
    metrics: dict[str, float]
    known: int
    stages: dict[str, int]
    main: float
    total: float
    exchange: float
    behind_ms: float


@asynccontextmanager
async def running(
    broker: KafkaBroker, work: Path, topic: str, symbols: Sequence[str], rate: float, producers: int
) -> AsyncIterator[list[Shard]]:
    """Run that many producers, each with its share of the symbols and an exchange of its own.

    Raises:
        SystemExit: one does not get going; with the last lines of its log.
    """
    shards = [
        _shard(broker, work, topic, list(symbols[number::producers]), rate, number) for number in range(producers)
    ]
    try:
        for shard in shards:
            shard.exchange.start()
        for shard in shards:
            shard.producer.start()
        await _until_known(shards)
        yield shards
    finally:
        codes = [await asyncio.to_thread(shard.producer.stop, 30) for shard in shards]
        for shard, code in zip(shards, codes, strict=True):
            await asyncio.to_thread(shard.exchange.stop, 10)
            print(f"{shard.producer.name} ended with {code}; {_last_words(shard.producer)}", file=sys.stderr)


async def sample(shard: Shard) -> Sample:
    """Read a shard's figures of now."""
    shard.stages.unlink(missing_ok=True)
    os.kill(shard.producer.pid, signal.SIGUSR1)
    async with ClientSession() as session:
        health = json.loads(await _get(session, f"{shard.url}/health"))
        metrics = _metrics(await _get(session, f"{shard.url}/metrics"))
        status = json.loads(await _get(session, f"{shard.exchange_url}/status"))
    while not shard.stages.exists():  # noqa: ASYNC110  (a file has no event)
        await asyncio.sleep(0.01)
    pid = shard.producer.pid
    return Sample(
        at=time.monotonic(),
        metrics=metrics,
        known=sum(state["book_known"] for state in health["symbols"].values()),
        stages=msgspec.json.decode(shard.stages.read_bytes(), type=dict[str, int]),
        main=machine.main_thread_sec(pid),
        total=machine.cpu_sec(pid),
        exchange=machine.cpu_sec(shard.exchange.pid),
        behind_ms=status["behind_ms"],
    )


async def create(brokers: str, topic: str) -> None:
    """Create the topic."""
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers)
    await admin.start()
    await admin.create_topics([NewTopic(topic, PARTITIONS, 1)])
    await admin.close()


async def delays(brokers: str, topic: str) -> tuple[list[float], list[float]]:
    """Return age at receipt and time from receipt to Kafka, in ms, of the newest trades and diffs."""
    partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
    async with AIOKafkaConsumer(bootstrap_servers=brokers, enable_auto_commit=False) as consumer:
        consumer.assign(partitions)
        wanted = 0
        for partition, end in (await consumer.end_offsets(partitions)).items():
            newest = min(end, _NEWEST // PARTITIONS)
            consumer.seek(partition, end - newest)
            wanted += newest
        records: list[Any] = []
        while len(records) < wanted:  # more go on coming
            for some in (await consumer.getmany(timeout_ms=500)).values():
                records.extend(some)
    ages, publishing = [], []
    for record in records:
        event = json.loads(record.value)
        if event["type"] in ("trade_tick", "order_book_deltas"):
            received = rfc3339.parse(event["ts_init"]) / 1e6
            ages.append(received - rfc3339.parse(event["ts_event"]) / 1e6)
            publishing.append(record.timestamp - received)
    return ages, publishing


def _shard(broker: KafkaBroker, work: Path, topic: str, symbols: list[str], rate: float, number: int) -> Shard:
    exchange_port, port = free_ports(2)
    python, names = [sys.executable, "-W", "ignore", "-m"], ",".join(symbols)
    stages = work / f"stages{number}.json"
    exchange = [*python, "app.cli", "exchange", "--port", str(exchange_port), "--symbols", names, "--rate", str(rate)]
    exchange += ["--distinct", str(DISTINCT)]
    producer = [*python, "producer.soak.stages", str(stages), "producer", "--symbols", names]
    env = {
        "KAFKA_BROKERS": broker.bootstrap,
        "EVENTS_TOPIC": topic,
        "BINANCE_HTTP_URL": f"http://127.0.0.1:{exchange_port}",
        "BINANCE_WS_URL": f"ws://127.0.0.1:{exchange_port}",
        "PRODUCER_HTTP_PORT": str(port),
    }
    return Shard(
        symbols=symbols,
        exchange=Child(f"exchange {number}", exchange, log=work / f"exchange{number}.log"),
        exchange_url=f"http://127.0.0.1:{exchange_port}",
        producer=Child(f"producer {number}", producer, log=work / f"producer{number}.log", env=env),
        url=f"http://127.0.0.1:{port}",
        stages=stages,
    )


async def _until_known(shards: list[Shard]) -> None:
    """Wait until every book was known once, or the time is up; what is not known then shows in the figures."""
    deadline = time.monotonic() + _START_LIMIT
    async with ClientSession() as session:
        for shard in shards:
            while time.monotonic() < deadline:
                if not shard.producer.running or not shard.exchange.running:
                    raise SystemExit(shard.producer.log_tail(20) + shard.exchange.log_tail(20))
                try:
                    health = json.loads(await _get(session, f"{shard.url}/health"))
                    if health["symbols"] and all(state["book_known"] for state in health["symbols"].values()):
                        break
                except (ClientError, TimeoutError):
                    pass
                await asyncio.sleep(0.2)
    await asyncio.sleep(_SETTLE)


async def _get(session: ClientSession, url: str) -> str:
    async with session.get(url) as answer:
        return await answer.text()


def _metrics(text: str) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for one in family.samples:
            name = one.name.removeprefix(_PREFIX)
            metrics[name] = metrics.get(name, 0.0) + one.value
    return metrics


def _last_words(child: Child) -> str:
    lines = child.log.read_text().splitlines()
    warnings = [line for line in lines if '"level":"INFO"' not in line]
    return f"{len(warnings)} warnings and errors" + "".join(f"\n  {line[:300]}" for line in warnings[-3:])
