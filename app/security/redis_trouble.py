"""What is the matter with Redis, in one line that says what to do, and in one word to count by.

The lines contain no address, because `/health` shows them to anyone who can reach it. A caller may put it in
front.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from redis.exceptions import (
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    BusyLoadingError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)

from app.security.redis_connection import WrongServerError
from app.security.sentinel import NoMasterError

UNAVAILABLE: Final = "unavailable"
_REPLICA: Final = "Redis is a replica, which takes no reports: REDIS_URL must lead to the master"
_CLUSTER: Final = (
    "Redis is in cluster mode, which context8 does not work with: use one Redis, alone or behind Sentinels"
)
_SENTINEL: Final = "this is a Sentinel and no Redis: write redis+sentinel://host:port/master/db as REDIS_URL"
_LINES: Final = {
    "replica": _REPLICA,
    "cluster": _CLUSTER,
    "sentinel": _SENTINEL,
    "out_of_memory": "Redis is out of memory: raise its maxmemory, or remove what else is in it",
    "too_many_clients": "Redis takes no more connections: raise its maxclients, or see with CLIENT LIST who has them",
    "access": "Redis refuses our user or its password: check REDIS_URL, REDIS_PASSWORD and the server's ACL",
    "loading": "Redis is still loading its data",
}
# Redis' own words behind these codes say what is the matter: its disk, or too few replicas.
_WRITES_REFUSED: Final = re.compile(r"(MISCONF|NOREPLICAS) .*?\.")
_IN_A_PIPELINE: Final = "of pipeline caused error: "  # redis-py's words, behind the command with all that was sent
KINDS: Final = (UNAVAILABLE, *_LINES, "right", "no_master", "writes_refused")
"""The words to count by; `unavailable` is what has no better one."""


class Trouble(NamedTuple):
    """What is the matter: a word of `KINDS`, and a line."""

    kind: str
    line: str


def trouble(error: BaseException) -> Trouble:
    """Say what is the matter, from what a client of Redis raised."""
    for cause in _causes(error):
        if (kind := _kind(cause)) is not None:
            return Trouble(kind, _LINES[kind])
        text = _said(cause)
        match cause:
            case NoPermissionError():
                return Trouble("right", f"our user lacks a right in Redis, see deploy/redis-users.acl: {text}")
            case NoMasterError():
                return Trouble("no_master", text)
            case ResponseError() if (refused := _WRITES_REFUSED.search(text)) is not None:
                return Trouble("writes_refused", f"Redis refuses writes: {refused.group()}")
    return Trouble(UNAVAILABLE, f"Redis is away or refuses: {type(error).__name__}: {_said(error)}")


def _kind(error: BaseException) -> str | None:
    match error:
        case WrongServerError(kind=kind):
            return str(kind)
        case ReadOnlyError():
            return "replica"
        case OutOfMemoryError():
            return "out_of_memory"
        case AuthenticationError() | AuthenticationWrongNumberOfArgsError():
            return "access"
        case BusyLoadingError():
            return "loading"
    return "too_many_clients" if "max number of clients" in str(error) else None


def _said(error: BaseException) -> str:
    return str(error).rpartition(_IN_A_PIPELINE)[2].partition("\n")[0]


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
