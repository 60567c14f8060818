"""Which log a topic is, as real brokers say it."""

from collections.abc import AsyncIterator
from functools import partial

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError, UnknownTopicOrPartitionError

from app.stack.kafka import KafkaBroker
from app.topic_ids import TopicInfo
from app.topic_watch import TopicWatch
from support.faults import FaultProxy
from support.workers import eventually

pytestmark = pytest.mark.stack


@pytest.fixture
async def admin(kafka: str) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await client.start()
    yield client
    await client.close()


@pytest.fixture
async def watch(kafka: str, topic_prefix: str) -> AsyncIterator[TopicWatch]:
    made = TopicWatch(lambda: AIOKafkaClient(bootstrap_servers=kafka), topic_prefix)
    yield made
    await made.close()


async def test_a_topic_keeps_its_log_while_it_lives_and_gets_another_when_it_is_made_again(
    admin: AIOKafkaAdminClient, watch: TopicWatch, topic_prefix: str
) -> None:
    await admin.create_topics([NewTopic(topic_prefix, 2, 1)])
    first = await eventually(partial(_there, watch, topic_prefix), "it is made")
    await admin.create_partitions({topic_prefix: NewPartitions(5)})

    async def partitions() -> bool:
        return (await watch.look())[topic_prefix].partitions == 5

    await eventually(partitions, "the new partitions are seen")
    assert await watch.log_of(topic_prefix) == first.log
    await admin.delete_topics([topic_prefix])

    async def gone() -> bool:
        return topic_prefix not in await admin.list_topics()

    await eventually(gone, "it is deleted")
    await admin.create_topics([NewTopic(topic_prefix, 2, 1)])
    second = await eventually(partial(_there, watch, topic_prefix), "it is made again")
    assert first.log is not None
    assert second.log is not None
    cluster, topic = first.log.split("/")
    assert second.log.startswith(f"{cluster}/")
    assert second.log != first.log
    assert len(topic) == 32


async def test_a_topic_that_is_not_there_is_no_log(watch: TopicWatch, topic_prefix: str) -> None:
    with pytest.raises(UnknownTopicOrPartitionError, match=topic_prefix):
        await watch.log_of(topic_prefix)


async def test_brokers_that_are_away_are_asked_again_over_a_new_connection(
    kafka_broker: KafkaBroker, admin: AIOKafkaAdminClient, topic_prefix: str
) -> None:
    await admin.create_topics([NewTopic(topic_prefix, 2, 1)])
    with FaultProxy(int(kafka_broker.bootstrap.rpartition(":")[2])) as proxy:
        watch = TopicWatch(lambda: AIOKafkaClient(bootstrap_servers=f"127.0.0.1:{proxy.port}"), topic_prefix)
        proxy.cut()
        with pytest.raises((KafkaConnectionError, OSError)):
            await watch.look()
        proxy.restore()
        assert (await watch.look())[topic_prefix].partitions == 2
        await watch.close()


async def _there(watch: TopicWatch, topic: str) -> TopicInfo | None:
    try:
        return (await watch.look())[topic]
    except UnknownTopicOrPartitionError:
        return None  # the broker has heard of it a moment after the controller
