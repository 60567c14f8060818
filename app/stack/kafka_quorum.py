"""Who leads KRaft's quorum: Kafka's request DescribeQuorum, which aiokafka lacks.

The controller that ordinary metadata names is any broker, picked at random: behind KRaft, clients have no business
with the real one. The message's layout is that of version 0 in Kafka's own DescribeQuorumRequest.json and
DescribeQuorumResponse.json; what follows the leader is left unread.
"""

from typing import Any, Final

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import CompactArray, CompactString, Int16, Int32, Schema, TaggedFields

_TOPIC: Final = "__cluster_metadata"


class _Answer(Response):
    API_KEY = 55
    API_VERSION = 0
    SCHEMA = Schema(
        ("error_code", Int16),
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")),
                ("partitions", CompactArray(("partition", Int32), ("error_code", Int16), ("leader", Int32))),
            ),
        ),
    )


class _Question(RequestStruct):
    API_KEY = 55
    API_VERSION = 0
    RESPONSE_TYPE = _Answer
    FLEXIBLE_VERSION = True
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")),
                ("partitions", CompactArray(("partition", Int32), ("tags", TaggedFields))),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _DescribeQuorum(Request[_Question]):
    API_KEY = 55

    def build(self, request_struct_class: type[_Question]) -> _Question:
        return request_struct_class([(_TOPIC, [(0, {})], {})], {})


async def leader(client: Any) -> int | None:
    """Return the id of the active controller as `client`, an AIOKafkaClient, is told it; None if there is none."""
    answer = await client.send(client.get_random_node(), _DescribeQuorum())
    if answer.error_code:
        return None
    ((_, ((_, _, found),)),) = answer.topics
    return int(found) if found > 0 else None
