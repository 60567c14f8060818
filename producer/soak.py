"""`python -m producer.soak`: how many symbols one producer carries, and what gives way first.

The whole producer as a process, against `context8 exchange` and a real Kafka, all on this machine. For each
number of symbols: what it published, what it cost, and how long events waited, taken from `/metrics`, from
`/proc`, and from the newest events in Kafka (receive time minus event time, both of this machine's clock).
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aiohttp import ClientError, ClientSession
from aiokafka import AIOKafkaConsumer, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from app.microstructure import rfc3339
from app.stack.kafka import KafkaBroker
from app.stack.ports import free_ports
from app.stack.process import Child

PARTITIONS: Final = 32
WARM_UP: Final = 15.0
_EVERY: Final = 2.0
_NEWEST: Final = 5000
_PREFIX: Final = "context8_producer_"

HEAD: Final = (
    "| symbols × events/s | published/s | producer CPU, RSS | exchange CPU | Kafka CPU | others' CPU | longest queue "
    "| age at receipt p50/p99 | publish p50/p99 | equal to bookTicker | resyncs |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|\n"
)


@dataclass(frozen=True)
class Sample:
    """What is read once: counters, and CPU seconds of the three processes."""

    at: float
    metrics: dict[str, float]
    cpu: tuple[float, ...]
    machine: float


def main() -> int:
    """Run the steps and print a table."""
    parser = argparse.ArgumentParser(prog="python -m producer.soak", description="how many symbols a producer carries")
    parser.add_argument("--symbols", default="10,25,50,100", help="numbers of symbols (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=200.0, help="events/s of each (default: %(default)g)")
    parser.add_argument("--seconds", type=float, default=60.0, help="measured for each (default: %(default)g)")
    arguments = parser.parse_args()
    print(HEAD, end="", flush=True)
    with tempfile.TemporaryDirectory(prefix="soak") as folder, KafkaBroker(Path(folder) / "kafka") as broker:
        for step, count in enumerate(map(int, arguments.symbols.split(","))):
            work = Path(folder) / f"step{step}"
            print(asyncio.run(_step(broker, work, count, arguments.rate, arguments.seconds)), flush=True)
    return 0


async def _step(broker: KafkaBroker, work: Path, count: int, rate: float, seconds: float) -> str:
    topic = work.name
    await _create(broker.bootstrap, topic)
    symbols = [f"S{number:03d}USDT" for number in range(count)]
    async with _running(broker, work, topic, symbols, rate) as (exchange, producer, port):
        pids = (producer.pid, exchange.pid, broker.process.pid)
        await asyncio.sleep(WARM_UP)
        first = last = await _sample(port, pids)
        longest = 0.0
        while last.at - first.at < seconds:
            await asyncio.sleep(_EVERY)
            last = await _sample(port, pids)
            longest = max(longest, last.metrics[f"{_PREFIX}queue_depth"])
        rss = _rss_mb(producer.pid)
        ages, publishing = await _delays(broker.bootstrap, topic)
    took = last.at - first.at
    cpu = [(after - before) / took for before, after in zip(first.cpu, last.cpu, strict=True)]
    others = max(0.0, (last.machine - first.machine) / took - sum(cpu))
    grown = {name: value - first.metrics.get(name, 0.0) for name, value in last.metrics.items()}
    compared = grown.get(f"{_PREFIX}best_compared_total", 0.0)
    equal = f"{grown[f'{_PREFIX}best_equal_total'] / compared:.4%}" if compared else "–"
    return (
        f"| {count} × {rate:g} | {grown[f'{_PREFIX}published_total'] / took:,.0f} | {cpu[0]:.0%}, {rss:.0f} MB "
        f"| {cpu[1]:.0%} | {cpu[2]:.0%} | {others:.0%} | {longest:,.0f} | {ages} | {publishing} | {equal} "
        f"| {grown.get(f'{_PREFIX}resyncs_total', 0.0):.0f} |"
    )


@asynccontextmanager
async def _running(
    broker: KafkaBroker, work: Path, topic: str, symbols: list[str], rate: float
) -> AsyncIterator[tuple[Child, Child, int]]:
    exchange_port, health_port = free_ports(2)
    python, names = [sys.executable, "-W", "ignore", "-m", "app.cli"], ",".join(symbols)
    exchange = Child(
        "exchange",
        [*python, "exchange", "--port", str(exchange_port), "--symbols", names, "--rate", str(rate)],
        log=work / "exchange.log",
    )
    producer = Child(
        "producer",
        [*python, "producer", "--symbols", names],
        log=work / "producer.log",
        env={
            "KAFKA_BROKERS": broker.bootstrap,
            "EVENTS_TOPIC": topic,
            "BINANCE_HTTP_URL": f"http://127.0.0.1:{exchange_port}",
            "BINANCE_WS_URL": f"ws://127.0.0.1:{exchange_port}",
            "PRODUCER_HTTP_PORT": str(health_port),
        },
    )
    try:
        exchange.start()
        producer.start()
        yield exchange, producer, health_port
    finally:
        code = await asyncio.to_thread(producer.stop, 30)
        await asyncio.to_thread(exchange.stop, 10)
        print(f"producer ended with {code}; {_last_words(producer)}", file=sys.stderr)


async def _sample(port: int, pids: tuple[int, ...]) -> Sample:
    async with ClientSession() as session:
        try:
            async with session.get(f"http://127.0.0.1:{port}/metrics") as answer:
                text = await answer.text()
        except ClientError as error:
            raise SystemExit(f"the producer does not answer: {error}") from None
    metrics: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            metrics[sample.name] = metrics.get(sample.name, 0.0) + sample.value
    return Sample(time.monotonic(), metrics, tuple(map(_cpu_sec, pids)), _machine_sec())


async def _delays(brokers: str, topic: str) -> tuple[str, str]:
    """Return age at receipt and time from receipt to Kafka, in ms, of the newest trades and diffs."""
    partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
    async with AIOKafkaConsumer(bootstrap_servers=brokers, enable_auto_commit=False) as consumer:
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        for partition, end in ends.items():
            consumer.seek(partition, max(0, end - _NEWEST // PARTITIONS))
        records: list[Any] = []
        while more := await consumer.getmany(timeout_ms=500):
            records.extend(record for some in more.values() for record in some)
            if len(records) > 2 * _NEWEST:
                break
    ages, publishing = [], []
    for record in records:
        event = json.loads(record.value)
        if event["type"] not in ("trade_tick", "order_book_deltas"):
            continue
        received = rfc3339.parse(event["ts_init"]) / 1e6
        ages.append(received - rfc3339.parse(event["ts_event"]) / 1e6)
        publishing.append(record.timestamp - received)
    return _percentiles(ages), _percentiles(publishing)


def _percentiles(values: list[float]) -> str:
    ordered = sorted(values)
    return f"{ordered[len(ordered) // 2]:.0f}/{ordered[len(ordered) * 99 // 100]:.0f} ms" if ordered else "–"


async def _create(brokers: str, topic: str) -> None:
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic

    admin = AIOKafkaAdminClient(bootstrap_servers=brokers)
    await admin.start()
    await admin.create_topics([NewTopic(topic, PARTITIONS, 1)])
    await admin.close()


def _cpu_sec(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _machine_sec() -> float:
    """Return the CPU seconds that the whole machine has been busy."""
    user, nice, system = Path("/proc/stat").read_text().split(maxsplit=4)[1:4]
    return (int(user) + int(nice) + int(system)) / os.sysconf("SC_CLK_TCK")


def _rss_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _last_words(child: Child) -> str:
    lines = child.log.read_text().splitlines()
    warnings = [line for line in lines if '"level":"INFO"' not in line]
    return f"{len(warnings)} warnings and errors" + "".join(f"\n  {line[:300]}" for line in warnings[-3:])


if __name__ == "__main__":
    sys.exit(main())
