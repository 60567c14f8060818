"""What a reader needs of Redis, and nothing more: reports, the list of symbols, news of changes.

All of it works as a Redis user that may only read (deploy/redis-users.acl). It retries once where a connection turns
out to have been closed since it was last used, and never where the server was silent: that would hold a call for
several timeouts.
"""

import re
import time
from collections.abc import AsyncIterator, Iterable
from functools import partial
from itertools import batched, chain
from typing import Any, Final, cast

from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from app.microstructure.events import is_symbol
from app.security.redis import redis_client
from app.security.redis_address import redis_address
from app.security.secret import Secret
from app.stores.base import Reading
from app.stores.keys import Keys
from app.stores.redis import trouble_named
from app.stores.split import whole

_SCAN_COUNT: Final = 1000
_WRITTEN: Final = re.compile(rb"(\d{1,18}) (\d{1,19})")  # ms, epoch


class RedisReportReader:
    """Reads reports; `timeout_sec` limits connecting and each round trip."""

    def __init__(
        self,
        url: str,
        *,
        password: Secret | None,
        ca_file: str | None = None,
        sentinel_password: Secret | None = None,
        prefix: str = "",
        timeout_sec: float,
    ) -> None:
        connect = partial(
            redis_client, url, password, ca_file, connect_sec=timeout_sec, sentinel_password=sentinel_password
        )
        self._redis = connect(read_sec=timeout_sec, retry=_once())
        # A subscription is silent for as long as nothing changes.
        self._listener = connect(read_sec=None, retry=_once())
        self._keys = Keys(prefix, redis_address(url).database)

    async def readings(self, symbols: Iterable[str]) -> dict[str, Reading | None]:
        """Return the newest report of each symbol with its times, all from one moment, in one round trip.

        A user without the right to TIME gets reports all the same, but not the server's time.

        Raises:
            StoreUnavailableError: Redis is away, silent or refuses.
        """
        names, at = list(symbols), time.monotonic()
        with trouble_named():
            # TIME after the reports, so that none can be younger than nothing.
            parts, store_time = await self._ask(("MGET", *chain(*map(self._keys.reading, names))), ("TIME",))
            if isinstance(parts, ResponseError):
                raise parts
        store_ms = None if isinstance(store_time, ResponseError) else _millis(*store_time)
        return {name: _reading(at, store_ms, *of) for name, of in zip(names, batched(parts, 3), strict=True)}

    async def symbols(self, limit: int) -> list[str]:
        """Return symbols with a report, sorted, at most `limit`: the first that the scan comes upon.

        Raises:
            StoreUnavailableError: Redis is away, silent or refuses.
        """
        found: set[str] = set()
        with trouble_named():
            async for key in self._redis.scan_iter(match=self._keys.report("*"), count=_SCAN_COUNT):
                name = key.decode("latin-1").removeprefix(self._keys.report(""))
                if is_symbol(name):
                    found.add(name)
                if len(found) >= limit:
                    break
        return sorted(found)

    async def changes(self) -> AsyncIterator[str]:
        """Yield '' once subscribed, then the symbol of each report as it is written, until cancelled.

        Raises:
            StoreUnavailableError: the subscription cannot be had, or was lost.
        """
        with trouble_named():
            async with self._listener.pubsub() as subscription:
                await subscription.subscribe(self._keys.changes)
                async for message in subscription.listen():
                    if message["type"] == "subscribe":
                        yield ""
                    elif is_symbol(name := message["data"].decode("latin-1")):
                        yield name

    async def traces(self) -> AsyncIterator[bytes]:
        """Yield what workers say of traced events, until cancelled; see `app.traces`.

        Raises:
            StoreUnavailableError: the subscription cannot be had, or was lost.
        """
        with trouble_named():
            async with self._listener.pubsub() as subscription:
                await subscription.subscribe(self._keys.traces)
                async for message in subscription.listen():
                    if message["type"] == "message":
                        yield message["data"]

    async def _ask(self, *commands: tuple[str, ...]) -> list[Any]:
        """Return the answers to commands of one round trip; what the server refuses is an answer too.

        redis-py's pipeline does the same and takes as long again as the whole read.
        """
        pool: Any = self._redis.connection_pool
        connection = await pool.get_connection()

        async def ask() -> list[Any]:
            await connection.send_packed_command(connection.pack_commands(commands))
            # Each is read, whatever the one before says: an answer left over would be taken for the next question's.
            return [await _answer(connection) for _ in commands]

        try:
            return cast("list[Any]", await connection.retry.call_with_retry(ask, lambda _: connection.disconnect()))
        finally:
            await pool.release(connection)

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()
        await self._listener.aclose()


async def _answer(connection: Any) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as refusal:
        return refusal


def _millis(seconds: bytes, micros: bytes) -> int:
    return int(seconds) * 1000 + int(micros) // 1000


def _reading(
    at: float, store_ms: int | None, report: bytes | None, heavy: bytes | None, written: bytes | None
) -> Reading | None:
    body = whole(report, heavy)
    if body is None:
        return None
    found = _WRITTEN.fullmatch(written or b"")
    return Reading(body, at, store_ms, int(found[1]), int(found[2])) if found else Reading(body, at, store_ms)


def _once() -> Retry:
    return Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,))
