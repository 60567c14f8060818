"""The report store in Redis or Valkey: two Lua scripts make taking an epoch and publishing atomic.

Lua's numbers are doubles, exact only up to 2^53, while epochs go to 2^63; so the scripts compare epochs as
decimal text: the longer is greater, equals are compared digit by digit. Counting is left to INCR, which is
a true 64-bit integer. The scripts are sent by their hash; a restarted server that has forgotten them is
given their text again.
"""

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, cast

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from app.security.redis import redis_client
from app.security.secret import Secret
from app.stores.base import (
    CHANGES_CHANNEL,
    EPOCH_KEY,
    EPOCH_LIMIT,
    HEAVY_SUFFIX,
    REPORT_KEY,
    TRACES_CHANNEL,
    Publication,
    StoreUnavailableError,
)
from app.stores.split import LIMIT_BYTES, is_light, join, split

logger = logging.getLogger(__name__)

_NEWER: Final = """
local function newer(a, b)
  if #a ~= #b then return #a > #b end
  return a > b
end
"""

# KEYS: epoch. ARGV: newest epoch in the table, limit. Returns the new epoch as text, '' at the limit.
_TAKE: Final = (
    _NEWER
    + """
local known = redis.call('GET', KEYS[1]) or '0'
if newer(ARGV[1], known) then known = ARGV[1] end
if not newer(ARGV[2], known) then return '' end
redis.call('SET', KEYS[1], known)
redis.call('INCR', KEYS[1])
return redis.call('GET', KEYS[1])
"""
)

# KEYS: epoch, report, heavy part. ARGV: writer's epoch, report, life in ms, heavy part or ''.
# Returns 1 if written, 0 if refused.
# A missing or older epoch is replaced: the writer took its own from the table, the durable record.
# Readers that listen are told which symbol changed. pcall: a user without rights to the channel may still write.
_PUBLISH: Final = (
    _NEWER
    + f"local changes, symbol_at = '{CHANGES_CHANNEL}', {len(REPORT_KEY) + 1}"
    + """
local known = redis.call('GET', KEYS[1])
if known ~= ARGV[1] then
  if known and newer(known, ARGV[1]) then return 0 end
  redis.call('SET', KEYS[1], ARGV[1])
end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
if ARGV[4] == '' then
  redis.call('DEL', KEYS[3])
else
  redis.call('SET', KEYS[3], ARGV[4], 'PX', ARGV[3])
end
redis.pcall('PUBLISH', changes, string.sub(KEYS[2], symbol_at))
return 1
"""
)


class RedisReportStore:
    """`ReportStore` in Redis. `timeout_sec` limits connecting and each round trip."""

    def __init__(
        self, url: str, *, password: Secret | None, ca_file: str | None = None, ttl_sec: int, timeout_sec: float
    ) -> None:
        # Retries are the caller's: redis-py's own would hold a call for several timeouts.
        self._redis: Redis = redis_client(url, password, ca_file, read_sec=timeout_sec, connect_sec=timeout_sec)
        self._ttl_ms = ttl_sec * 1000
        self._take = _Script(self._redis, _TAKE)
        self._publish = _Script(self._redis, _PUBLISH)

    async def take_epochs(self, above: Mapping[str, int]) -> dict[str, int]:
        """See `ReportStore.take_epochs`; one round trip for all."""
        limit = str(EPOCH_LIMIT)
        answers = await self._take.each(([EPOCH_KEY + symbol], [str(floor), limit]) for symbol, floor in above.items())
        return {symbol: int(epoch) for symbol, epoch in zip(above, answers, strict=True) if epoch}

    async def publish(self, publications: Sequence[Publication]) -> list[bool]:
        """See `ReportStore.publish`; one round trip for all."""
        return [bool(written) for written in await self._publish.each(map(self._publish_call, publications))]

    async def tell_trace(self, message: bytes) -> None:
        """Send a message to readers that have traces on; see `app.traces`."""
        with absence_named():
            await self._redis.publish(TRACES_CHANNEL, message)

    async def read(self, symbol: str) -> bytes | None:
        """See `ReportStore.read`."""
        key = REPORT_KEY + symbol
        with absence_named():
            # Both in one step: two reads could catch parts of two reports.
            body, heavy = cast("list[bytes | None]", await self._redis.mget(key, key + HEAVY_SUFFIX))
        if body is None or not is_light(body):
            return body
        return join(body, heavy) if heavy is not None else None

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    def _publish_call(self, publication: Publication) -> tuple[list[str], list[Any]]:
        body, heavy = publication.body, b""
        if len(body) > LIMIT_BYTES:
            logger.warning("report of %d bytes is split", len(body), extra={"symbol": publication.symbol})
            body, heavy = split(body)
        key = REPORT_KEY + publication.symbol
        keys = [EPOCH_KEY + publication.symbol, key, key + HEAVY_SUFFIX]
        return keys, [str(publication.epoch), body, self._ttl_ms, heavy]


class _Script:
    """A Lua script that runs once for each of many calls in one round trip."""

    def __init__(self, redis: Redis, text: str) -> None:
        self._redis = redis
        self._text = text
        self._sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    async def each(self, calls: Iterable[tuple[list[str], list[Any]]]) -> list[Any]:
        """Return the script's answer to each call's keys and arguments."""
        every = list(calls)
        if not every:
            return []
        with absence_named():
            try:
                return await self._run(every)
            except NoScriptError:
                await self._redis.script_load(self._text)
                return await self._run(every)

    async def _run(self, calls: list[tuple[list[str], list[Any]]]) -> list[Any]:
        async with self._redis.pipeline(transaction=False) as pipe:
            for keys, args in calls:
                pipe.evalsha(self._sha, len(keys), *keys, *args)
            return await pipe.execute()


@contextmanager
def absence_named() -> Iterator[None]:
    """Turn whatever Redis or the network raises into `StoreUnavailableError`."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise StoreUnavailableError(f"Redis is away or refuses: {type(error).__name__}: {error}") from error
