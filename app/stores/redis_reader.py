"""What a reader needs of Redis, and nothing more: reports, the list of symbols, news of changes.

All of it works as a Redis user that may only read (deploy/redis-users.acl). It retries once where a connection turns
out to have been closed since it was last used, and never where the server was silent: that would hold a call for
several timeouts.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Final, cast

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from app.microstructure.events import is_symbol
from app.security.redis import redis_client
from app.security.secret import Secret
from app.stores.base import CHANGES_CHANNEL, HEAVY_SUFFIX, REPORT_KEY, TRACES_CHANNEL
from app.stores.redis import absence_named
from app.stores.split import is_light, join

_SCAN_COUNT: Final = 1000


class RedisReportReader:
    """Reads reports; `timeout_sec` limits connecting and each round trip."""

    def __init__(self, url: str, *, password: Secret | None, ca_file: str | None = None, timeout_sec: float) -> None:
        self._redis = _client(url, password, ca_file, timeout_sec, timeout_sec)
        # A subscription is silent for as long as nothing changes.
        self._listener = _client(url, password, ca_file, None, timeout_sec)

    async def read_many(self, symbols: Sequence[str]) -> list[bytes | None]:
        """Return the newest report of each symbol, all from one moment, in one round trip.

        Raises:
            StoreUnavailableError: Redis is away, silent or refuses.
        """
        keys = [REPORT_KEY + symbol for symbol in symbols]
        with absence_named():
            parts = cast(
                "list[bytes | None]",
                await self._redis.mget([part for key in keys for part in (key, key + HEAVY_SUFFIX)]),
            )
        return [_whole(body, heavy) for body, heavy in zip(parts[::2], parts[1::2], strict=True)]

    async def symbols(self, limit: int) -> list[str]:
        """Return symbols with a report, sorted, at most `limit`: the first that the scan comes upon.

        Raises:
            StoreUnavailableError: Redis is away, silent or refuses.
        """
        found: set[str] = set()
        with absence_named():
            async for key in self._redis.scan_iter(match=f"{REPORT_KEY}*", count=_SCAN_COUNT):
                name = key.decode("latin-1").removeprefix(REPORT_KEY)
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
        with absence_named():
            async with self._listener.pubsub() as subscription:
                await subscription.subscribe(CHANGES_CHANNEL)
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
        with absence_named():
            async with self._listener.pubsub() as subscription:
                await subscription.subscribe(TRACES_CHANNEL)
                async for message in subscription.listen():
                    if message["type"] == "message":
                        yield message["data"]

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()
        await self._listener.aclose()


def _client(
    url: str, password: Secret | None, ca_file: str | None, read_sec: float | None, connect_sec: float
) -> Redis:
    once = Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,))
    return redis_client(url, password, ca_file, read_sec=read_sec, connect_sec=connect_sec, retry=once)


def _whole(body: bytes | None, heavy: bytes | None) -> bytes | None:
    if body is None or not is_light(body):
        return body
    return join(body, heavy) if heavy is not None else None
