"""Reads topics whole and keeps them in files: what a failure is looked into with, and played again from."""

import base64
import gzip
import json
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from soak.records import Record

_REQUEST_MS: Final = 10_000


async def read(brokers: str, topic: str) -> AsyncIterator[Record]:
    """Yield every record that a topic has now, offsets rising in each partition."""
    async with AIOKafkaConsumer(
        bootstrap_servers=brokers,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        request_timeout_ms=_REQUEST_MS,
        max_partition_fetch_bytes=8 << 20,
    ) as consumer:
        # Known only after a look at the topic's metadata.
        await consumer._client.add_topic(topic)
        tps = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
        consumer.assign(tps)
        left = {tp: end for tp, end in (await consumer.end_offsets(tps)).items() if end}
        while left := {tp: end for tp, end in left.items() if await consumer.position(tp) < end}:
            for records in (await consumer.getmany(*left, timeout_ms=500)).values():
                for each in records:
                    yield Record(each.partition, each.offset, each.key, each.value)


async def dump(brokers: str, topic: str, file: Path) -> None:
    """Write a topic into a file that `load` reads."""
    write(file, [record async for record in read(brokers, topic)])


def write(file: Path, records: Iterable[Record]) -> None:
    """Write records into a file: a JSON array a line, keys and values in base64."""
    with gzip.open(file, "wt", compresslevel=1, encoding="ascii") as out:
        for partition, offset, key, value in records:
            out.write(json.dumps([partition, offset, _text(key), _text(value)]) + "\n")


def load(file: Path) -> Iterator[Record]:
    """Yield the records of such a file."""
    with gzip.open(file, "rt", encoding="ascii") as lines:
        for line in lines:
            partition, offset, key, value = json.loads(line)
            yield Record(partition, offset, _bytes(key), _bytes(value))


def _text(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)
