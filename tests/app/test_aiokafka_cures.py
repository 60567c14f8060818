import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest

from app import aiokafka_cures
from support.workers import eventually


class Connection(AIOKafkaConnection):
    """One to a broker, whose transport raises `error` when it is written to."""

    def __init__(self, error: Exception) -> None:
        super().__init__("127.0.0.1", 1)
        self.closed_for: list[Any] = []
        self._versions = {3: (0, 5)}

        def write(_: bytes) -> None:
            raise error

        self._writer = SimpleNamespace(write=write)

    def close(self, reason: Any = None, exc: Any = None) -> Any:
        self.closed_for.append(reason)


@pytest.fixture(autouse=True)
def installed(event_loop_policy: Any) -> None:
    aiokafka_cures.install()


async def test_uvloops_word_for_a_closed_transport_is_a_connection_that_is_lost() -> None:
    connection = Connection(
        RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")
    )
    with pytest.raises(KafkaConnectionError, match="is closed"):
        connection.send(MetadataRequest([]))
    assert connection.closed_for == [CloseReason.CONNECTION_BROKEN]


async def test_any_other_error_is_what_it_was() -> None:
    with pytest.raises(RuntimeError, match="something else"):
        Connection(RuntimeError("something else")).send(MetadataRequest([]))


@pytest.fixture
async def waiting(kafka: str, topic_prefix: str) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer that waits for the answer to a request for records."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.create_topics([NewTopic(topic_prefix, 1, 1)])
    await admin.close()
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, fetch_max_wait_ms=10_000)
    await consumer.start()
    partition = TopicPartition(topic_prefix, 0)
    consumer.assign([partition])
    consumer.seek(partition, 0)

    async def asks() -> bool:
        return len(consumer._fetcher._in_flight) == 1

    await eventually(asks, "it asks")
    yield consumer
    await consumer.stop()


def connected(consumer: AIOKafkaConsumer) -> list[AIOKafkaConnection]:
    return [each for each in consumer._client._conns.values() if each.connected()]


@pytest.mark.stack
@pytest.mark.parametrize("turns", range(4))
async def test_a_consumer_that_has_just_lost_its_partitions_can_be_stopped(
    waiting: AIOKafkaConsumer, turns: int
) -> None:
    waiting.unsubscribe()
    for _ in range(turns):
        await asyncio.sleep(0)
    stopping = asyncio.create_task(waiting.stop())
    # Not `wait_for`: its cancellation would do what stopping should have done.
    done, _ = await asyncio.wait([stopping], timeout=10)
    assert done
    await stopping
    assert not connected(waiting)


@pytest.mark.stack
async def test_a_request_that_waits_to_be_tried_again_does_not_keep_connections_open(
    waiting: AIOKafkaConsumer,
) -> None:
    waiting._fetcher._pending_tasks.add(asyncio.create_task(asyncio.sleep(60)))
    await waiting.stop()
    assert not connected(waiting)


@pytest.mark.stack
async def test_a_fetch_task_that_has_died_does_not_keep_connections_open(waiting: AIOKafkaConsumer) -> None:
    async def die() -> None:
        raise ValueError("dead")

    await aiokafka_cures._end(waiting._fetcher._fetch_task)
    waiting._fetcher._fetch_task = asyncio.create_task(die())
    await waiting.stop()
    assert not connected(waiting)
