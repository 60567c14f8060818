"""Reads the changelog into the local databases before a worker joins its group.

A newcomer is given partitions at once, and takes them over when it has read their changelog: until then nobody reports
their symbols. So it reads all of it beforehand, while others still do the work. After it has joined only the last
moment is left to be read.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from tables.snapshots import SnapshotTable

logger = logging.getLogger(__name__)

_LIMIT_SEC: Final = 30.0
_FETCH_MS: Final = 200


async def warm_up(table: SnapshotTable, client: Mapping[str, Any]) -> None:
    """Bring the databases of all partitions up to what the changelog has now; whatever fails is left to recovery.

    `client` are the arguments of aiokafka's clients that say where the brokers are and how to get in.
    """
    began = time.monotonic()
    try:
        records = await asyncio.wait_for(_read(table, client), _LIMIT_SEC)
    except (KafkaError, OSError, TimeoutError) as error:
        logger.warning("the changelog could not be read ahead, joining takes longer: %r", error)
    else:
        logger.info("read %d changelog records ahead in %.2f s", records, time.monotonic() - began)


async def _read(table: SnapshotTable, client: Mapping[str, Any]) -> int:
    topic, count = table.changelog_topic, 0
    async with AIOKafkaConsumer(**client, enable_auto_commit=False) as consumer:
        left = {TopicPartition(topic, partition) for partition in range(table.partitions)}
        consumer.assign(left)
        begins, ends = await consumer.beginning_offsets(left), await consumer.end_offsets(left)
        for tp in left:
            consumer.seek(tp, max(begins[tp], table.next_offset(tp.partition)))
        left = {tp for tp in left if await consumer.position(tp) < ends[tp]}
        while left:
            for tp, records in (await consumer.getmany(*left, timeout_ms=_FETCH_MS)).items():
                table.catch_up(tp.partition, {each.key: each.value for each in records}, records[-1].offset)
                count += len(records)
            left = {tp for tp in left if await consumer.position(tp) < ends[tp]}
    return count
