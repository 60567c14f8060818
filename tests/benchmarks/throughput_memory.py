"""(d) The ceiling: the same engines fed from memory, with the same cycles and nothing else.

The topic's records are read into memory first. Time in the cycles is measured apart, so that both are known: decode
and apply alone, and with the cycles' own work (reports, slow sections, snapshots as our worker writes them).
"""

import asyncio
import gc
import time
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from app.microstructure.engine import STATE_VERSION
from benchmarks.throughput_work import FAST_SEC, SNAPSHOT_SEC, Every, Work, child_main, write_result
from tables.records import Snapshot, Writer

BATCH = 500


def run(options: dict[str, Any]) -> None:
    """Read everything, then work on it."""
    batches = asyncio.run(_read(options["brokers"], options["topic"], options["partitions"], options["events"]))
    gc.collect()
    gc.freeze()
    work, snapshots = Work(options["events"]), _Snapshots()
    fast, snapshot = Every(FAST_SEC), Every(SNAPSHOT_SEC)
    cycles_sec = 0.0
    for batch in batches:
        for record in batch:
            work.take(record.value, record.key, record.offset)
        if fast.due():
            started = time.perf_counter()
            work.report()
            if snapshot.due():
                snapshots.take(work)
            cycles_sec += time.perf_counter() - started
    write_result(Path(options["result"]), work.result(cycles_sec=cycles_sec))


class _Snapshots:
    """Snapshots as our worker writes them to its table."""

    def __init__(self) -> None:
        self._of: dict[str, Writer] = {}

    def take(self, work: Work) -> None:
        """Take one of every symbol."""
        for name, engine in work.engines.items():
            snapshot = Snapshot(engine.snapshot(), STATE_VERSION, None, engine.offset, engine.offset)
            self._of.setdefault(name, Writer("memory")).records(name, 1, snapshot)


async def _read(brokers: str, topic: str, partitions: int, events: int) -> list[list[ConsumerRecord]]:
    """Return the topic's records in batches of one partition, as a fetch brings them."""
    batches: list[list[ConsumerRecord]] = []
    async with AIOKafkaConsumer(
        bootstrap_servers=brokers, auto_offset_reset="earliest", enable_auto_commit=False
    ) as consumer:
        consumer.assign([TopicPartition(topic, partition) for partition in range(partitions)])
        while sum(map(len, batches)) < events:
            batches += (await consumer.getmany(timeout_ms=1000, max_records=BATCH)).values()
    return batches


if __name__ == "__main__":
    child_main(run)
