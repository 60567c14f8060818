"""How every client of ours connects to Redis, and whether it lets us in and do our work."""

import asyncio
from typing import Any, Final

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, AuthenticationWrongNumberOfArgsError, NoPermissionError, RedisError

from app.security import tls
from app.security.errors import AccessError
from app.security.redis_address import RedisAddress, redis_address
from app.security.redis_connection import Credentials, MasterPool, ServerConnection, TlsConnection, WrongServerError
from app.security.redis_trouble import trouble
from app.security.secret import Secret, without_password
from app.security.sentinel import Sentinels
from app.settings import Settings
from app.stores.keys import Keys

_LIMIT_SEC: Final = 2.0
_REFUSAL_SEC: Final = 3.0
_NOBODY: Final = "access"  # lower case, so that no symbol can ever have these keys

# Asks without doing: returns the commands that this user may not run. Redis before 7.0 has no such question, and a
# right that is missing there shows when it is used.
_WORKER_RIGHTS: Final = """
local missing = {}
if not redis.acl_check_cmd then return missing end
local wanted = {
  {'GET', KEYS[1]}, {'SET', KEYS[1], '1'}, {'INCR', KEYS[1]},
  {'SET', KEYS[2], '', 'PX', '1'}, {'DEL', KEYS[2]}, {'MGET', KEYS[2]},
  {'PUBLISH', ARGV[1], ''},
}
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
    writes: bool = False,
    sentinel_password: Secret | None = None,
    retry: Retry | None = None,
) -> Redis:
    """Return a client; by default it never tries again by itself, which would hold a call for several timeouts.

    Args:
        url: where Redis is; a password in it comes before the other.
        password: of our user.
        ca_file: authorities that certificates may be of.
        read_sec: limit of each answer.
        connect_sec: limit of each step of connecting.
        writes: only a master will do.
        sentinel_password: of the Sentinels.
        retry: when to try again.

    Raises:
        ValueError: `url` is not allowed.
    """
    url, in_url = without_password(url)
    address, password = redis_address(url), in_url or password
    context = tls.client_context(ca_file) if address.tls else None
    how: dict[str, Any] = {
        "connection_class": ServerConnection,
        "tls_context": context,
        "db": address.database,
        "credential_provider": Credentials(address.user, password) if address.user or password else None,
        "socket_timeout": read_sec,
        "socket_connect_timeout": connect_sec,
        "retry": retry or Retry(NoBackoff(), 0),
        "master_only": writes or address.master is not None,
    }
    if address.master is None:
        return Redis.from_pool(ConnectionPool(host=address.servers[0].host, port=address.servers[0].port, **how))
    sentinels = Sentinels(
        [
            Redis.from_pool(
                ConnectionPool(
                    connection_class=TlsConnection,
                    host=host,
                    port=port,
                    tls_context=context,
                    credential_provider=Credentials(None, sentinel_password) if sentinel_password else None,
                    socket_timeout=connect_sec,
                    socket_connect_timeout=connect_sec,
                    retry=Retry(NoBackoff(), 0),
                )
            )
            for host, port in address.servers
        ],
        address.master,
    )
    return Redis.from_pool(MasterPool(sentinels, **how))


def redis_of(config: Settings, *, writes: bool = False) -> Redis:
    """Return a client for a few questions to the Redis of the settings."""
    return redis_client(
        config.redis_url,
        config.redis_password,
        config.redis_ca_file,
        read_sec=_LIMIT_SEC,
        connect_sec=_LIMIT_SEC,
        writes=writes,
        sentinel_password=config.redis_sentinel_password,
    )


def address_of(config: Settings) -> RedisAddress:
    """Return where the Redis of the settings is."""
    return redis_address(config.redis_url)


def keys_of(config: Settings) -> Keys:
    """Return the names of keys and channels by the settings."""
    return Keys(config.redis_prefix, address_of(config).database)


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
    where, keys = f"REDIS_URL: {address_of(config)}", keys_of(config)
    async with redis_of(config, writes=writes) as client:
        try:
            return await (_missing_of_worker(client, keys) if writes else _missing_of_reader(client, keys))
        except WrongServerError as error:
            if error.kind == "replica" and address_of(config).master:
                raise  # a failover is under way: the Sentinels will name another
            raise AccessError(f"{where}: {trouble(error).line}") from None
        except (AuthenticationError, AuthenticationWrongNumberOfArgsError) as error:
            raise AccessError(
                f"{where}: the user {_user(config)!r} or its password is refused: "
                f"check the user in REDIS_URL, REDIS_PASSWORD and the server's ACL ({_first_line(error)})"
            ) from None
        except (RedisError, OSError) as error:
            why = tls.explained(error, "REDIS_CA_FILE", f"REDIS_URL={config.redis_url.partition(':')[0]}://")
            if why:
                raise AccessError(f"{where}: {why}") from None
            raise


def lacking(config: Settings, missing: list[str], *, writes: bool) -> str:
    """Return in one line which rights our user lacks and what to do."""
    return (
        f"REDIS_URL: {address_of(config)}: the user {_user(config)!r} lacks {', '.join(missing)}: "
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


async def _missing_of_worker(client: Any, keys: Keys) -> list[str]:
    try:
        sha = await client.script_load(_WORKER_RIGHTS)
    except NoPermissionError:
        return ["SCRIPT LOAD"]
    try:
        asked = client.evalsha(sha, 2, keys.epoch(_NOBODY), keys.report(_NOBODY), keys.changes)
        return [right.decode() for right in await asked]
    except NoPermissionError:
        return [f"EVALSHA on {keys.report('*')}"]


async def _missing_of_reader(client: Any, keys: Keys) -> list[str]:
    async def listen() -> None:
        async with client.pubsub() as subscription:
            await subscription.subscribe(keys.changes)
            await subscription.get_message(timeout=_LIMIT_SEC)

    wanted = {
        f"MGET {keys.report('*')}": lambda: client.mget(keys.both(_NOBODY)),
        "SCAN": lambda: client.scan(match=keys.report(_NOBODY), count=1),
        f"SUBSCRIBE {keys.changes}": listen,
    }
    missing = []
    for right, use in wanted.items():
        try:
            await use()
        except NoPermissionError:
            missing.append(right)
    return missing


def _user(config: Settings) -> str:
    return address_of(config).user or "default"


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
