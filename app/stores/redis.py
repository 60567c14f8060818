"""The report store in Redis or Valkey: three Lua scripts make taking an epoch, publishing and forgetting atomic.

Lua's numbers are doubles, exact only up to 2^53, while epochs go to 2^63; so the scripts compare epochs as
decimal text: the longer is greater, equals are compared digit by digit. Counting is left to INCR, which is
a true 64-bit integer. The scripts are sent by their hash; a restarted server that has forgotten them is
given their text again.
"""

import hashlib
import logging
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from itertools import batched, chain
from typing import Any, Final, cast

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError

from app.security.redis import redis_client
from app.security.redis_address import redis_address
from app.security.redis_trouble import trouble
from app.security.secret import Secret
from app.stores.base import (
    EPOCH_KEPT_SEC,
    EPOCH_LIMIT,
    Publication,
    StoreUnavailableError,
)
from app.stores.clock import StoreClock
from app.stores.keys import Keys
from app.stores.split import LIMIT_BYTES, split, whole

logger = logging.getLogger(__name__)

_REFUSED: Final = 0
_Call = tuple[list[str], list[Any]]  # keys and arguments of a script

# Reports in one answer, some 10 KB each: Redis serves others in between, and the time limit is for each answer.
_PER_ANSWER: Final = 100

_NEWER: Final = """
local function newer(a, b)
  if #a ~= #b then return #a > #b end
  return a > b
end
"""

# The server's time in ms as text, nil for a user without the right to TIME: it may write all the same.
_TIME_MS: Final = """
local time = redis.pcall('TIME')
local ms = time[1] and string.format('%s%03d', time[1], math.floor(time[2] / 1000))
"""

# KEYS: epoch. ARGV: newest epoch in the table, limit.
# Returns the new epoch as text, '' at the limit, and the server's time in ms as text or ''.
_TAKE: Final = (
    _NEWER
    + _TIME_MS
    + """
local known = redis.call('GET', KEYS[1]) or '0'
if newer(ARGV[1], known) then known = ARGV[1] end
if not newer(ARGV[2], known) then return {'', ms or ''} end
redis.call('SET', KEYS[1], known)
redis.call('INCR', KEYS[1])
return {redis.call('GET', KEYS[1]), ms or ''}
"""
)

# KEYS: epoch, report, heavy part, when written.
# ARGV: writer's epoch, report, life in ms, heavy part or '', channel, symbol.
# Returns the server's time in ms as text if written, '' without the right to TIME, 0 if refused.
# A missing or older epoch is replaced: the writer took its own from the table, the durable record.
# The server's own time is noted: readers learn from it how old the report is, whatever clocks they and writers have.
# Readers that listen are told which symbol changed. pcall: a user without rights to the channel may still write.
_PUBLISH: Final = (
    _NEWER
    + _TIME_MS
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
if ms then
  redis.call('SET', KEYS[4], ms .. ' ' .. ARGV[1], 'PX', ARGV[3])
else
  redis.call('DEL', KEYS[4])
end
redis.pcall('PUBLISH', ARGV[5], ARGV[6])
return ms or ''
"""
)

# KEYS: epoch, report, heavy part, when written. ARGV: writer's epoch, life of the epoch in ms, channel, symbol.
# Returns 1 if the report is gone, 0 if there is a newer writer.
_FORGET: Final = (
    _NEWER
    + """
local known = redis.call('GET', KEYS[1])
if known and newer(known, ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])
redis.pcall('PUBLISH', ARGV[3], ARGV[4])
return 1
"""
)


class RedisReportStore:
    """`ReportStore` in Redis. `timeout_sec` limits connecting and each round trip.

    Attributes:
        clock: the server's wall time, by which reports are to be dated.
        problem: why a call failed, until something is written again.
    """

    def __init__(
        self,
        url: str,
        *,
        password: Secret | None,
        ca_file: str | None = None,
        sentinel_password: Secret | None = None,
        prefix: str = "",
        ttl_sec: int,
        timeout_sec: float,
    ) -> None:
        # Retries are the caller's: redis-py's own would hold a call for several timeouts.
        self._redis: Redis = redis_client(
            url,
            password,
            ca_file,
            read_sec=timeout_sec,
            connect_sec=timeout_sec,
            writes=True,
            sentinel_password=sentinel_password,
        )
        self.clock = StoreClock()
        self.problem: str | None = None
        self._keys = Keys(prefix, redis_address(url).database)
        self._ttl_ms = ttl_sec * 1000
        self._take = _Script(self._redis, _TAKE)
        self._publish = _Script(self._redis, _PUBLISH)
        self._forget = _Script(self._redis, _FORGET)

    async def ask_time(self) -> None:
        """Learn the server's time, for `clock`; raises `StoreUnavailableError`."""
        asked_ns = self.clock.asking()
        async with self._noting():
            seconds, micros = await self._redis.time()
        self.clock.saw(seconds * 1000 + micros // 1000, asked_ns)

    async def take_epochs(self, above: Mapping[str, int]) -> dict[str, int]:
        """See `ReportStore.take_epochs`; one round trip for all."""
        limit, asked_ns = str(EPOCH_LIMIT), self.clock.asking()
        calls = [([self._keys.epoch(symbol)], [str(floor), limit]) for symbol, floor in above.items()]
        answers = await self._write(self._take, calls)
        self._saw_time([time for _, time in answers], asked_ns)
        return {symbol: int(epoch) for symbol, (epoch, _) in zip(above, answers, strict=True) if epoch}

    async def publish(self, publications: Sequence[Publication]) -> list[bool]:
        """See `ReportStore.publish`; one round trip for all."""
        asked_ns = self.clock.asking()
        answers = await self._write(self._publish, list(map(self._publish_call, publications)))
        self._saw_time([answer for answer in answers if answer != _REFUSED], asked_ns)
        return [answer != _REFUSED for answer in answers]

    async def forget(self, epochs: Mapping[str, int]) -> set[str]:
        """See `ReportStore.forget`; one round trip for all."""
        kept_ms = EPOCH_KEPT_SEC * 1000
        calls = [
            ([self._keys.epoch(symbol), *self._keys.reading(symbol)], [str(epoch), kept_ms, self._keys.changes, symbol])
            for symbol, epoch in epochs.items()
        ]
        answers = await self._write(self._forget, calls)
        return {symbol for symbol, gone in zip(epochs, answers, strict=True) if gone}

    async def tell_trace(self, message: bytes) -> None:
        """Send a message to readers that have traces on; see `app.traces`."""
        with trouble_named():
            await self._redis.publish(self._keys.traces, message)

    async def read(self, symbol: str) -> bytes | None:
        """See `ReportStore.read`."""
        return (await self.read_many([symbol]))[symbol]

    async def read_many(self, symbols: Iterable[str]) -> dict[str, bytes | None]:
        """See `ReportStore.read_many`; one round trip for all."""
        names = list(symbols)
        async with self._noting(), self._redis.pipeline(transaction=False) as pipe:
            for some in batched(names, _PER_ANSWER):
                # Both parts in one step: two reads could catch parts of two reports.
                pipe.mget([*chain(*map(self._keys.both, some))])
            answers = cast("list[list[bytes | None]]", await pipe.execute())
        return {name: whole(*both) for name, both in zip(names, batched(chain(*answers), 2), strict=True)}

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def _write(self, script: "_Script", calls: list[_Call]) -> list[Any]:
        if not calls:
            return []
        async with self._noting():
            answers = await script.each(calls)
        self.problem = None
        return answers

    def _saw_time(self, answers: list[bytes], asked_ns: int) -> None:
        if answers and answers[-1]:
            self.clock.saw(int(answers[-1]), asked_ns)

    @asynccontextmanager
    async def _noting(self) -> AsyncIterator[None]:
        try:
            with trouble_named():
                yield
        except StoreUnavailableError as error:
            self.problem = str(error)
            if isinstance(error.__cause__, ReadOnlyError):
                # It was the master when we connected. The way to Redis may lead to another by now.
                await self._redis.connection_pool.disconnect(inuse_connections=False)
            raise

    def _publish_call(self, publication: Publication) -> _Call:
        symbol, body, heavy = publication.symbol, publication.body, b""
        if len(body) > LIMIT_BYTES:
            logger.warning("report of %d bytes is split", len(body), extra={"symbol": symbol})
            body, heavy = split(body)
        keys = [self._keys.epoch(symbol), *self._keys.reading(symbol)]
        return keys, [str(publication.epoch), body, self._ttl_ms, heavy, self._keys.changes, symbol]


class _Script:
    """A Lua script that runs once for each of many calls in one round trip."""

    def __init__(self, redis: Redis, text: str) -> None:
        self._redis = redis
        self._text = text
        self._sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    async def each(self, calls: list[_Call]) -> list[Any]:
        """Return the script's answer to each call; raises what Redis or the network raises."""
        try:
            return await self._run(calls)
        except NoScriptError:
            await self._redis.script_load(self._text)
            return await self._run(calls)

    async def _run(self, calls: list[_Call]) -> list[Any]:
        async with self._redis.pipeline(transaction=False) as pipe:
            for keys, args in calls:
                pipe.evalsha(self._sha, len(keys), *keys, *args)
            return await pipe.execute()


@contextmanager
def trouble_named() -> Iterator[None]:
    """Turn whatever Redis or the network raises into `StoreUnavailableError`."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        kind, line = trouble(error)
        raise StoreUnavailableError(line, kind) from error
