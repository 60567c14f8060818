"""Gives rights in Kafka, and takes them, as its tool kafka-acls.sh would, which is not among the jars of set-up."""

import argparse
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Int8, Int16, Int32, Schema, String

# Kafka's numbers of what it names in words.
_RESOURCES: Final = {"topic": 2, "group": 3}
_PATTERNS: Final = {"literal": 3, "prefixed": 4}
_OPERATIONS: Final = {"All": 2, "Read": 3, "Write": 4, "Create": 5, "Describe": 8}
_DENY, _ALLOW = 2, 3
_Acl = tuple[int, str, int, str, str, int, int]


_ACL: Final = (
    ("resource_type", Int8),
    ("resource_name", String("utf-8")),
    ("pattern_type", Int8),
    ("principal", String("utf-8")),
    ("host", String("utf-8")),
    ("operation", Int8),
    ("permission", Int8),
)


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
    SCHEMA = Schema(("creations", Array(*_ACL)))


class _DeleteAclsResponse(Response):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = 31
    API_VERSION = 1
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "filters",
            Array(
                ("error_code", Int16),
                ("error_message", String("utf-8")),
                ("matching", Array(("error_code", Int16), ("error_message", String("utf-8")), *_ACL)),
            ),
        ),
    )


class _DeleteAclsStruct(RequestStruct):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = 31
    API_VERSION = 1
    RESPONSE_TYPE = _DeleteAclsResponse
    SCHEMA = Schema(("filters", Array(*_ACL)))


class _CreateAcls(Request[_CreateAclsStruct]):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = 30

    def __init__(self, acls: list[_Acl]) -> None:
        self._acls = acls

    def build(self, request_struct_class: type[_CreateAclsStruct]) -> _CreateAclsStruct:
        return request_struct_class(self._acls)


class _DeleteAcls(Request[_DeleteAclsStruct]):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = 31

    def __init__(self, acls: list[_Acl]) -> None:
        self._acls = acls

    def build(self, request_struct_class: type[_DeleteAclsStruct]) -> _DeleteAclsStruct:
        return request_struct_class(self._acls)


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
    creations: list[_Acl] = [
        (_RESOURCES[kind], name, pattern, told.allow_principal, "*", _OPERATIONS[operation], _ALLOW)
        for kind in _RESOURCES
        for name in getattr(told, kind)
        for operation in told.operation
    ]
    answer = await _ask(bootstrap, _CreateAcls(creations))
    assert [code for code, _ in answer.results] == [0] * len(creations), answer.results


@asynccontextmanager
async def denied(bootstrap: str, user: str, kind: str, name: str, operation: str) -> AsyncIterator[None]:
    """Take a right from a user, whatever else it has, for as long as this lasts."""
    acl: _Acl = (_RESOURCES[kind], name, _PATTERNS["literal"], f"User:{user}", "*", _OPERATIONS[operation], _DENY)
    created = await _ask(bootstrap, _CreateAcls([acl]))
    assert [code for code, _ in created.results] == [0], created.results
    try:
        yield
    finally:
        deleted = await _ask(bootstrap, _DeleteAcls([acl]))
        ((code, _, matching),) = deleted.filters
        assert (code, len(matching)) == (0, 1), deleted.filters


async def _ask(bootstrap: str, request: _CreateAcls | _DeleteAcls) -> Any:
    client = AIOKafkaClient(bootstrap_servers=bootstrap)
    try:
        await client.bootstrap()
        return await client.send(client.get_random_node(), request)
    finally:
        await client.close()
