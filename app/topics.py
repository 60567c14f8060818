"""The topics of a deployment, created beforehand so that partition counts are right from the start.

A table's changelog must have as many partitions as its source topic, and Kafka's own topic creation on
first use would give both the broker's default. Workers and producers therefore never create topics.
"""

import asyncio
from typing import Any, Final

import msgspec
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from app import copies
from app.copies import Copies
from app.kafka_admin import ask, topic_settings
from app.settings import Settings

MAX_RECORD_BYTES: Final = 1_048_588  # what brokers take as they come; larger snapshots are split (tables/records.py)
_LETTER_BYTES: Final = 72 << 10  # 64 KiB of a value, a key, and headers (agents/dead_letters.py)
_HOUR_MS: Final = 3_600_000
# A topic that somebody has just created is there before its partitions are.
_LOOKS: Final = 50
_LOOK_SEC: Final = 0.1


class TopicSpec(msgspec.Struct, frozen=True):
    """A topic as it should be.

    Attributes:
        exact: another number of partitions would be wrong.
        least: settings that may be higher, and below which records are refused.
    """

    name: str
    partitions: int
    config: dict[str, str]
    exact: bool = True
    least: dict[str, int] = {}


class Ensured(msgspec.Struct, frozen=True):
    """A topic that is there: whether it is new, its copies, and in some words what it lacks."""

    created: bool
    copies: Copies
    lacks: str | None = None


class TopicMismatchError(Exception):
    """A topic exists with another number of partitions; one line says which and what to do."""


def plan(settings: Settings) -> list[TopicSpec]:
    """Return every topic that producer and workers use."""
    partitions = settings.events_partitions
    return [
        TopicSpec(
            settings.events_topic,
            partitions,
            {"retention.ms": str(24 * _HOUR_MS)},
            least={"max.message.bytes": MAX_RECORD_BYTES},
        ),
        TopicSpec(
            settings.dlq_topic,
            1,
            {"retention.ms": str(7 * 24 * _HOUR_MS)},
            exact=False,
            least={"max.message.bytes": _LETTER_BYTES},
        ),
        TopicSpec(
            changelog_name(settings),
            partitions,
            # Snapshots replace each other within seconds, and whoever joins reads what is there: compact early, in
            # the smallest segments that brokers allow. A deletion that is missed leaves a snapshot older than others.
            {
                "cleanup.policy": "compact",
                "segment.ms": "60000",
                "segment.bytes": "1048576",
                "min.cleanable.dirty.ratio": "0.1",
                "delete.retention.ms": "60000",
                "max.message.bytes": str(MAX_RECORD_BYTES),
            },
        ),
    ]


def changelog_name(settings: Settings) -> str:
    """Return the changelog topic of the snapshot table, as Faust names it."""
    return f"{settings.worker_group}-snapshots-changelog"


async def ensure(settings: Settings) -> dict[str, Ensured]:
    """Create what is missing and check what exists, which is never changed; return how each topic is, by name.

    Raises:
        TopicMismatchError: a topic exists with another number of partitions.
        KafkaError, OSError: Kafka does not answer, or refuses.
    """

    async def ensure_all(admin: AIOKafkaAdminClient) -> dict[str, Ensured]:
        wants = copies.wanted(settings.topic_replication, await broker_count(admin))
        return {spec.name: await _ensure_one(admin, spec, wants) for spec in plan(settings)}

    return await ask(settings, ensure_all)


async def problem(settings: Settings) -> str | None:
    """Return in one line what is wrong with the topics as they are, `None` if nothing is."""

    async def look(admin: AIOKafkaAdminClient) -> str | None:
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
        return None

    return await ask(settings, look)


async def broker_count(admin: AIOKafkaAdminClient) -> int:
    """Return how many brokers there are now."""
    return len((await admin.describe_cluster())["brokers"])


async def _ensure_one(admin: AIOKafkaAdminClient, spec: TopicSpec, wants: Copies) -> Ensured:
    config = spec.config | wants.config
    response = await admin.create_topics([NewTopic(spec.name, spec.partitions, wants.replicas, topic_configs=config)])
    code = response.topic_errors[0][1]
    if code not in (0, TopicAlreadyExistsError.errno):
        raise for_code(code)(f"topic {spec.name}: {response.topic_errors[0][2]}")
    partitions = await _require_partitions(admin, spec)  # also of a new one: the next command must find it
    if not code:
        return Ensured(True, wants)
    has = copies.found(partitions, await topic_settings(admin, spec.name))
    return Ensured(False, has, copies.shortfall(has, wants))


async def _require_partitions(admin: AIOKafkaAdminClient, spec: TopicSpec) -> list[dict[str, Any]]:
    partitions = await _partitions(admin, spec.name)
    if len(partitions) != spec.partitions and (spec.exact or not partitions):
        raise TopicMismatchError(repartition_advice(spec.name, len(partitions), spec.partitions))
    return partitions


def repartition_advice(topic: str, found: int, wanted: int) -> str:
    """Return in one line that a topic has another number of partitions than is set, and what to do."""
    return (
        f"topic {topic} has {found} partitions, EVENTS_PARTITIONS={wanted}: set {found}; but if partitions were"
        " added, or are to be, first stop producers and workers and run"
        f" `context8 repartition --partitions {max(found, wanted)}` (docs/runbooks/partitions.md)"
    )


async def _partitions(admin: AIOKafkaAdminClient, name: str) -> list[dict[str, Any]]:
    """Return a topic's partitions as Kafka describes them, none where it still has none after a while."""
    for _ in range(_LOOKS):
        (described,) = await admin.describe_topics([name])
        if described["partitions"]:
            return list(described["partitions"])
        await asyncio.sleep(_LOOK_SEC)
    return []
