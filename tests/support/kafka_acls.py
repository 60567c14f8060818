"""Gives rights in Kafka as its own tool kafka-acls.sh would, which is not among the jars that set-up gets."""

import argparse
import shlex
from typing import Final

from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Int8, Int16, Int32, Schema, String

# Kafka's numbers of what it names in words.
_RESOURCES: Final = {"topic": 2, "group": 3}
_PATTERNS: Final = {"literal": 3, "prefixed": 4}
_OPERATIONS: Final = {"All": 2, "Read": 3, "Write": 4, "Create": 5, "Describe": 8}
_ALLOW: Final = 3


class _CreateAclsResponse(Response):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = 30
    API_VERSION = 1
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("results", Array(("error_code", Int16), ("error_message", String("utf-8")))),
    )


class _CreateAclsStruct(RequestStruct):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = 30
    API_VERSION = 1
    RESPONSE_TYPE = _CreateAclsResponse
    SCHEMA = Schema(
        (
            "creations",
            Array(
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
                ("pattern_type", Int8),
                ("principal", String("utf-8")),
                ("host", String("utf-8")),
                ("operation", Int8),
                ("permission", Int8),
            ),
        )
    )


class _CreateAcls(Request[_CreateAclsStruct]):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = 30

    def __init__(self, creations: list[tuple[int, str, int, str, str, int, int]]) -> None:
        self._creations = creations

    def build(self, request_struct_class: type[_CreateAclsStruct]) -> _CreateAclsStruct:
        return request_struct_class(self._creations)


async def grant(command: str, bootstrap: str) -> None:
    """Do what a line `kafka-acls.sh … --add …` says, at the broker of `bootstrap`."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    for option in ("--bootstrap-server", "--allow-principal"):
        parser.add_argument(option, required=True)
    for option in ("--operation", "--topic", "--group"):
        parser.add_argument(option, action="append", default=[])
    parser.add_argument("--add", action="store_true", required=True)
    parser.add_argument("--resource-pattern-type", default="literal")
    program, *words = shlex.split(command)
    assert program == "kafka-acls.sh"
    told = parser.parse_args(words)
    pattern = _PATTERNS[told.resource_pattern_type]
    creations = [
        (_RESOURCES[kind], name, pattern, told.allow_principal, "*", _OPERATIONS[operation], _ALLOW)
        for kind in _RESOURCES
        for name in getattr(told, kind)
        for operation in told.operation
    ]
    client = AIOKafkaClient(bootstrap_servers=bootstrap)
    try:
        await client.bootstrap()
        answer = await client.send(client.get_random_node(), _CreateAcls(creations))
    finally:
        await client.close()
    assert [code for code, _ in answer.results] == [0] * len(creations), answer.results
