"""Is Redis there, does it let us work, does it keep epochs, and has it the same time as we have?"""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

from redis.exceptions import NoPermissionError, RedisError

from app.doctor.findings import Finding, error, ok, warning
from app.security.errors import AccessError
from app.security.redis import address_of, lacking, missing_rights, redis_of
from app.security.redis_trouble import UNAVAILABLE, Trouble, trouble
from app.settings import Settings

_OLDEST: Final = (7, 0)  # users with rights to channels, and scripts that ask for rights
_KNOWS_SETINFO: Final = (7, 2)
_CLOCK_SEC: Final = 0.5  # ages are told in ms, and a report is degraded after one second
_UNSEEN: Final = "ask as a user that may run {command}, such as an administrator"


async def redis_findings(
    config: Settings, *, writes: bool, reads: bool, wall: Callable[[], float] = time.time
) -> AsyncIterator[Finding]:
    """Yield what there is to say about Redis; no more than one finding if it does not let us in.

    Args:
        config: where Redis is, and who we are.
        writes: our user is a worker's.
        reads: our user is a reader's.
        wall: the clock of this machine, in Unix seconds.
    """
    try:
        if writes:
            yield await _rights_finding(config, writes=True)
        if reads:
            yield await _rights_finding(config, writes=False)
        async with redis_of(config, writes=writes) as client:
            async for finding in _server_findings(client, wall):
                yield finding
    except AccessError as refusal:
        yield error("redis", "refuses us", str(refusal))
    except (RedisError, OSError) as absence:
        yield _absence_finding(config, trouble(absence))


def _absence_finding(config: Settings, why: Trouble) -> Finding:
    if why.kind != UNAVAILABLE:
        return error("redis", "does not let us work", f"REDIS_URL: {address_of(config)}: {why.line}")
    advice = f"check that Redis runs at {address_of(config)}, with TLS if REDIS_URL is rediss:// and else without"
    return error("redis", f"does not answer ({why.line})", advice)


async def _rights_finding(config: Settings, *, writes: bool) -> Finding:
    who, missing = "worker" if writes else "reader", await missing_rights(config, writes=writes)
    if missing:
        return error("redis", f"the {who}'s work is not allowed", lacking(config, missing, writes=writes))
    return ok("redis", f"{address_of(config)} lets us do a {who}'s work")


async def _server_findings(client: Any, wall: Callable[[], float]) -> AsyncIterator[Finding]:
    try:
        info: dict[str, Any] = {**await client.info("server"), **await client.info("memory")}
    except NoPermissionError:
        yield warning("redis version", "cannot be seen by our user", _UNSEEN.format(command="INFO"))
        yield warning("redis memory", "cannot be seen by our user", _UNSEEN.format(command="INFO"))
    else:
        yield version_finding(info)
        yield memory_finding(info)
    try:
        before = wall()
        seconds, micros = await client.time()
        yield clock_finding((before + wall()) / 2 - (seconds + micros / 1e6))
    except NoPermissionError:
        yield warning("clock", "cannot be compared by our user", _UNSEEN.format(command="TIME"))


def version_finding(info: Mapping[str, Any]) -> Finding:
    """Judge the server's version, from what INFO says."""
    # Valkey says 7.2 as Redis' version, whatever its own is: what it is compatible with.
    text = str(info["redis_version"])
    name = f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {text}"
    version = tuple(int(part) for part in text.split(".")[:2])
    if version < _OLDEST:
        return error("redis version", name, "use Redis 7.2 or newer, or Valkey")
    if version < _KNOWS_SETINFO:
        return warning("redis version", name, "leave client|setinfo out of deploy/redis-users.acl, or use 7.2 or newer")
    return ok("redis version", name)


def memory_finding(info: Mapping[str, Any]) -> Finding:
    """Judge whether epochs, which never expire, could be thrown away for want of memory."""
    policy, limit = str(info["maxmemory_policy"]), int(info["maxmemory"])
    found = f"maxmemory-policy {policy}, " + (f"limit {limit >> 20} MB" if limit else "no limit")
    if not policy.startswith("allkeys"):
        return ok("redis memory", found)
    advice = "`CONFIG SET maxmemory-policy noeviction` (or volatile-ttl): this one may throw writer epochs away"
    return (error if limit else warning)("redis memory", found, advice)


def clock_finding(ahead_sec: float) -> Finding:
    """Judge by how many seconds this machine's clock is ahead of Redis'."""
    if abs(ahead_sec) < _CLOCK_SEC:
        return ok("clock", f"within {_CLOCK_SEC:g} s of Redis' clock")
    found = f"{abs(ahead_sec):.1f} s {'ahead of' if ahead_sec > 0 else 'behind'} Redis' clock"
    return error("clock", found, "set both by NTP: ages of data and reports are wrong by as much")
