"""Topics of a deployment, on a real broker."""

import asyncio

import msgspec
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from app import topics
from app.settings import Settings

pytestmark = pytest.mark.stack


@pytest.fixture
def settings(kafka: str, topic_prefix: str) -> Settings:
    return Settings(
        kafka_brokers=kafka, events_topic=f"{topic_prefix}.events", worker_group=topic_prefix, events_partitions=4
    )


async def test_who_comes_first_creates_them_and_whoever_comes_at_the_same_moment_is_content(settings: Settings) -> None:
    answers = await asyncio.gather(*(topics.ensure(settings) for _ in range(6)))
    for name in (spec.name for spec in topics.plan(settings)):
        assert sorted(answer[name].created for answer in answers) == [False] * 5 + [True]
    assert await topics.problem(settings) is None


async def test_another_number_of_partitions_is_refused_with_what_to_do(settings: Settings) -> None:
    await topics.ensure(settings)
    eight = msgspec.structs.replace(settings, events_partitions=8)
    with pytest.raises(topics.TopicMismatchError, match=r"has 4 partitions, EVENTS_PARTITIONS=8: set 4; but"):
        await topics.ensure(eight)
    assert "has 4 partitions" in str(await topics.problem(eight))


async def test_the_topic_of_what_cannot_be_used_may_have_any_number_of_partitions(settings: Settings) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_brokers)
    await admin.start()
    await admin.create_topics([NewTopic(settings.dlq_topic, 3, 1)])
    await admin.close()
    assert not (await topics.ensure(settings))[settings.dlq_topic].created
    assert await topics.problem(settings) is None
