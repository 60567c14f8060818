"""Which log a topic is: the ids of its cluster and of the topic itself, as the brokers have them.

A topic that is deleted and made again has the same name and counts its offsets from 0 again; so has a topic of
another cluster. What was remembered by offset (a snapshot, a position in a changelog) belongs to one log, and is
worth nothing for another. Kafka gives each topic an id of its own since 2.8 (KIP-516); brokers that do not, answer
with none, and only offsets beyond the end of a log can then tell that it is another.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import IncompatibleBrokerVersion, UnknownTopicOrPartitionError, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

LogId = str
"""`CLUSTER/TOPIC`, both as the brokers name them."""

_NO_ID: Final = bytes(16)


class _Uuid(AbstractType[bytes]):
    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: Any) -> bytes:
        return bytes(data.read(16))


class _MetadataResponse(Response):
    """Metadata, version 12: the first that gives ids and names on request."""

    API_KEY = 3
    API_VERSION = 12
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", CompactString("utf-8")),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _MetadataRequestStruct(RequestStruct):
    API_KEY = 3
    API_VERSION = 12
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(("topic_id", _Uuid), ("name", CompactString("utf-8")), ("tags", TaggedFields)),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _MetadataRequest(Request[_MetadataRequestStruct]):
    API_KEY: ClassVar[int] = 3

    def __init__(self, topics: tuple[str, ...]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[_MetadataRequestStruct]) -> _MetadataRequestStruct:
        return request_struct_class([(_NO_ID, name, {}) for name in self._topics], False, False, {})


class TopicInfo:
    """What the brokers say of a topic: its log's id, `None` where they give none, and its number of partitions."""

    __slots__ = ("log", "partitions")

    def __init__(self, log: LogId | None, partitions: int) -> None:
        self.log = log
        self.partitions = partitions


async def describe(client: AIOKafkaClient, *topics: str) -> Mapping[str, TopicInfo]:
    """Return what the brokers say of `topics`; `client` must be bootstrapped.

    Raises:
        UnknownTopicOrPartitionError: there is no such topic, or we may not see it.
        KafkaError: no broker answers.
    """
    node = client.get_random_node()
    try:
        answer = await client.send(node, _MetadataRequest(topics))
    except (NotImplementedError, IncompatibleBrokerVersion):
        # aiokafka's way of saying that the broker does not know this version.
        return await _without_ids(client, topics)
    found: dict[str, TopicInfo] = {}
    for code, name, topic_id, _, partitions, *_ in answer.topics:
        if code:
            raise for_code(code)(f"topic {name}")
        log = f"{answer.cluster_id}/{topic_id.hex()}" if topic_id != _NO_ID else None
        found[name] = TopicInfo(log, len(partitions))
    return found


async def _without_ids(client: AIOKafkaClient, topics: tuple[str, ...]) -> Mapping[str, TopicInfo]:
    found: dict[str, TopicInfo] = {}
    await client.set_topics(topics)
    for name in topics:
        partitions = client.cluster.partitions_for_topic(name)
        if not partitions:
            raise UnknownTopicOrPartitionError(f"topic {name}")
        found[name] = TopicInfo(None, len(partitions))
    return found
