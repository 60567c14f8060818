"""The topics of a deployment, created beforehand so that partition counts are right from the start.

A table's changelog must have as many partitions as its source topic, and Kafka's own topic creation on
first use would give both the broker's default. Workers and producers therefore never create topics.
"""

import asyncio
from typing import Final

import msgspec
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from app.security.kafka import kafka_client
from app.settings import Settings

MAX_SNAPSHOT_BYTES: Final = 8_388_608  # a head or a part; heads of the tape have 20 KB
_HOUR_MS: Final = 3_600_000
# A topic that somebody has just created is there before its partitions are.
_LOOKS: Final = 50
_LOOK_SEC: Final = 0.1


class TopicSpec(msgspec.Struct, frozen=True):
    """A topic as it should be; `exact` where another number of partitions would be wrong."""

    name: str
    partitions: int
    config: dict[str, str]
    exact: bool = True


class TopicMismatchError(Exception):
    """A topic exists with another number of partitions; one line says which and what to do."""


def plan(settings: Settings) -> list[TopicSpec]:
    """Return every topic that producer and workers use."""
    partitions = settings.events_partitions
    return [
        TopicSpec(settings.events_topic, partitions, {"retention.ms": str(24 * _HOUR_MS)}),
        TopicSpec(settings.dlq_topic, 1, {"retention.ms": str(7 * 24 * _HOUR_MS)}, exact=False),
        TopicSpec(
            changelog_name(settings),
            partitions,
            # Snapshots replace each other within seconds, and whoever joins reads what is there: compact early, in
            # the smallest segments that brokers allow. A deletion that is missed leaves a part that no head asks for.
            {
                "cleanup.policy": "compact",
                "segment.ms": "60000",
                "segment.bytes": "1048576",
                "min.cleanable.dirty.ratio": "0.1",
                "delete.retention.ms": "60000",
                "max.message.bytes": str(MAX_SNAPSHOT_BYTES),
            },
        ),
    ]


def changelog_name(settings: Settings) -> str:
    """Return the changelog topic of the snapshot table, as Faust names it."""
    return f"{settings.worker_group}-snapshots-changelog"


async def ensure(settings: Settings) -> dict[str, str]:
    """Create what is missing and check what exists; return `created` or `exists` by topic.

    Raises:
        TopicMismatchError: a topic exists with another number of partitions.
    """
    admin = AIOKafkaAdminClient(**kafka_client(settings))
    await admin.start()
    try:
        return {spec.name: await _ensure_one(admin, spec, settings.topic_replication) for spec in plan(settings)}
    finally:
        await admin.close()


async def problem(settings: Settings) -> str | None:
    """Return in one line what is wrong with the topics as they are, `None` if nothing is."""
    admin = AIOKafkaAdminClient(**kafka_client(settings))
    await admin.start()
    try:
        existing = set(await admin.list_topics())
        for spec in plan(settings):
            if spec.name not in existing:
                missing = f"topic {spec.name} is missing: run `context8 topics`"
                open_to_all = settings.kafka_security_protocol == "PLAINTEXT"
                return missing if open_to_all else f"{missing}, unless our user may not see it"
            try:
                await _require_partitions(admin, spec)
            except TopicMismatchError as error:
                return str(error)
    finally:
        await admin.close()
    return None


async def _ensure_one(admin: AIOKafkaAdminClient, spec: TopicSpec, replication: int) -> str:
    response = await admin.create_topics([NewTopic(spec.name, spec.partitions, replication, topic_configs=spec.config)])
    code = response.topic_errors[0][1]
    if code not in (0, TopicAlreadyExistsError.errno):
        raise for_code(code)(f"topic {spec.name}: {response.topic_errors[0][2]}")
    await _require_partitions(admin, spec)  # also of a new one: whoever comes next must find it
    return "exists" if code else "created"


async def _require_partitions(admin: AIOKafkaAdminClient, spec: TopicSpec) -> None:
    found = await _partitions(admin, spec.name)
    if found != spec.partitions and (spec.exact or not found):
        raise TopicMismatchError(
            f"topic {spec.name} has {found} partitions, {spec.partitions} are wanted: "
            f"set EVENTS_PARTITIONS={found}, "
            f"or delete the topic and its changelog to change the number"
        )


async def _partitions(admin: AIOKafkaAdminClient, name: str) -> int:
    """Return how many partitions a topic has, 0 where it still has none after a while."""
    for _ in range(_LOOKS):
        (described,) = await admin.describe_topics([name])
        if described["partitions"]:
            return len(described["partitions"])
        await asyncio.sleep(_LOOK_SEC)
    return 0
