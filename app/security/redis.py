"""How every client of ours connects to Redis, and whether it lets us in and do our work."""

import asyncio
import ssl
from typing import Any, Final
from urllib.parse import urlsplit

from redis.asyncio import ConnectionPool, Redis, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, AuthenticationWrongNumberOfArgsError, NoPermissionError, RedisError

from app.security import tls
from app.security.errors import AccessError
from app.security.secret import Secret, revealed
from app.settings import Settings
from app.stores.base import CHANGES_CHANNEL, EPOCH_KEY, HEAVY_SUFFIX, REPORT_KEY

_LIMIT_SEC: Final = 2.0
_REFUSAL_SEC: Final = 3.0
# Lower case, so that no symbol can ever have these keys.
_EPOCH: Final = f"{EPOCH_KEY}access"
_REPORT: Final = f"{REPORT_KEY}access"

# Asks without doing: returns the commands that this user may not run. Redis before 7.0 has no such question, and a
# right that is missing there shows when it is used.
_WORKER_RIGHTS: Final = f"""
local missing = {{}}
if not redis.acl_check_cmd then return missing end
local wanted = {{
  {{'GET', KEYS[1]}}, {{'SET', KEYS[1], '1'}}, {{'INCR', KEYS[1]}},
  {{'SET', KEYS[2], '', 'PX', '1'}}, {{'DEL', KEYS[2]}}, {{'MGET', KEYS[2]}},
  {{'PUBLISH', '{CHANGES_CHANNEL}', ''}},
}}
for _, command in ipairs(wanted) do
  if not redis.acl_check_cmd(unpack(command)) then table.insert(missing, command[1] .. ' ' .. command[2]) end
end
return missing
"""
# Without them reports are written and read all the same, only nobody hears of them.
_SPARED: Final = ("PUBLISH", "SUBSCRIBE")


def redis_client(
    url: str,
    password: Secret | None,
    ca_file: str | None,
    *,
    read_sec: float | None,
    connect_sec: float,
    retry: Retry | None = None,
) -> Redis:
    """Return a client; by default it never tries again by itself, which would hold a call for several timeouts."""
    pool: Any = ConnectionPool.from_url(
        url,
        password=revealed(password),
        socket_timeout=read_sec,
        socket_connect_timeout=connect_sec,
        retry=retry or Retry(NoBackoff(), 0),
    )
    if url.startswith("rediss://"):
        pool.connection_class = _TlsConnection
        pool.connection_kwargs["tls_context"] = tls.client_context(ca_file)
    return Redis.from_pool(pool)


class _TlsConnection(SSLConnection):
    """A connection with a context of ours, made once.

    redis-py's own makes one for each connection, within the time that connecting may take; and besides the given
    authorities it trusts all those of the machine.
    """

    def __init__(self, *, tls_context: ssl.SSLContext, **options: Any) -> None:
        super().__init__(**options)
        self._tls_context = tls_context

    def _connection_arguments(self) -> dict[str, Any]:
        return {"host": self.host, "port": self.port, "ssl": self._tls_context}


def redis_of(config: Settings) -> Redis:
    """Return a client for a few questions to the Redis of the settings."""
    return redis_client(
        config.redis_url, config.redis_password, config.redis_ca_file, read_sec=_LIMIT_SEC, connect_sec=_LIMIT_SEC
    )


def redis_address(config: Settings) -> str:
    """Return `host:port` of the Redis of the settings."""
    parts = urlsplit(config.redis_url)
    return f"{parts.hostname}:{parts.port or 6379}"


async def require_redis(config: Settings, *, writes: bool) -> None:
    """Connect, and find out whether our user may do the work of a worker (`writes`) or of a reader.

    Raises:
        AccessError: Redis refuses us, or a right is missing.
        RedisError, OSError: Redis is away.
    """
    missing = [right for right in await missing_rights(config, writes=writes) if not right.startswith(_SPARED)]
    if missing:
        raise AccessError(lacking(config, missing, writes=writes))


async def missing_rights(config: Settings, *, writes: bool) -> list[str]:
    """Return the commands of a worker or a reader that our user may not run; raises as `require_redis` does."""
    where = f"REDIS_URL: {redis_address(config)}"
    async with redis_of(config) as client:
        try:
            return await (_missing_of_worker(client) if writes else _missing_of_reader(client))
        except (AuthenticationError, AuthenticationWrongNumberOfArgsError) as error:
            raise AccessError(
                f"{where}: the user {_user(config)!r} or its password is refused: "
                f"check the user in REDIS_URL, REDIS_PASSWORD and the server's ACL ({_first_line(error)})"
            ) from None
        except (RedisError, OSError) as error:
            why = tls.explained(error, "REDIS_CA_FILE", f"REDIS_URL={urlsplit(config.redis_url).scheme}://")
            if why:
                raise AccessError(f"{where}: {why}") from None
            raise


def lacking(config: Settings, missing: list[str], *, writes: bool) -> str:
    """Return in one line which rights our user lacks and what to do."""
    return (
        f"REDIS_URL: {redis_address(config)}: the user {_user(config)!r} lacks {', '.join(missing)}: "
        f"give it the rights of the {'worker' if writes else 'reader'} in deploy/redis-users.acl"
    )


def redis_refusal(config: Settings, *, writes: bool) -> str | None:
    """Return in one line why Redis will never let us work, `None` if it does or is away; takes at most 3 s."""
    try:
        asyncio.run(asyncio.wait_for(require_redis(config, writes=writes), _REFUSAL_SEC))
    except AccessError as error:
        return str(error)
    except (RedisError, OSError):  # a time limit that is over is an OSError too
        return None
    return None


async def _missing_of_worker(client: Any) -> list[str]:
    try:
        sha = await client.script_load(_WORKER_RIGHTS)
    except NoPermissionError:
        return ["SCRIPT LOAD"]
    try:
        return [right.decode() for right in await client.evalsha(sha, 2, _EPOCH, _REPORT)]
    except NoPermissionError:
        return [f"EVALSHA on {REPORT_KEY}*"]


async def _missing_of_reader(client: Any) -> list[str]:
    async def listen() -> None:
        async with client.pubsub() as subscription:
            await subscription.subscribe(CHANGES_CHANNEL)
            await subscription.get_message(timeout=_LIMIT_SEC)

    wanted = {
        f"MGET {REPORT_KEY}*": lambda: client.mget(_REPORT, _REPORT + HEAVY_SUFFIX),
        "SCAN": lambda: client.scan(match=_REPORT, count=1),
        f"SUBSCRIBE {CHANGES_CHANNEL}": listen,
    }
    missing = []
    for right, use in wanted.items():
        try:
            await use()
        except NoPermissionError:
            missing.append(right)
    return missing


def _user(config: Settings) -> str:
    return urlsplit(config.redis_url).username or "default"


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
