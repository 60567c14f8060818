"""What a reader of Redis sees, and a watch that it never goes back."""

import asyncio
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import msgspec
import redis.asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from support.contracts import validate_report


class Sighting(msgspec.Struct, frozen=True):
    """What matters of one report: the writer, its epoch, the offset, and the times (monotonic s, Unix ms)."""

    node: str
    epoch: int
    offset: int
    seen_at: float
    written_ms: int


class Reports:
    """The reports of `symbols` in the Redis at `url`."""

    def __init__(self, url: str, symbols: Iterable[str]) -> None:
        self.symbols = tuple(symbols)
        self._client = aioredis.Redis.from_url(
            url, socket_timeout=0.5, socket_connect_timeout=0.5, retry=Retry(NoBackoff(), 0)
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def of(self, symbol: str) -> dict[str, Any] | None:
        """One symbol's report, held to the schema."""
        body = await self._client.get(f"report:{symbol}")
        return validate_report(body) if body else None

    async def all(self) -> dict[str, Sighting]:
        """Every report that is there; nothing while Redis is away."""
        try:
            bodies = await self._client.mget([f"report:{symbol}" for symbol in self.symbols])
        except (RedisError, OSError):
            return {}
        now = time.monotonic()
        return {s: _sighting(body, now) for s, body in zip(self.symbols, bodies, strict=True) if body}

    async def complete(self) -> bool:
        """Whether each symbol has a report."""
        return len(await self.all()) == len(self.symbols)

    async def tokens(self) -> dict[str, int]:
        """Every writer token that is there; nothing while Redis is away."""
        try:
            tokens = await self._client.mget([f"report:writer:token:{symbol}" for symbol in self.symbols])
        except (RedisError, OSError):
            return {}
        return {symbol: int(token) for symbol, token in zip(self.symbols, tokens, strict=True) if token}

    async def offsets(self) -> dict[str, int]:
        """The offset that each report stands for."""
        return {symbol: seen.offset for symbol, seen in (await self.all()).items()}

    async def reached(self, offsets: dict[str, int]) -> bool:
        """Whether the reports stand for exactly these offsets."""
        return await self.offsets() == offsets

    async def writers(self) -> dict[str, tuple[str, int]]:
        """Node and epoch of each report's writer."""
        return {symbol: (seen.node, seen.epoch) for symbol, seen in (await self.all()).items()}


def _sighting(body: bytes | str, now: float) -> Sighting:
    report = msgspec.json.decode(body)
    writer = report["writer"]
    return Sighting(writer["nodeId"], writer["writerToken"], report["provenance"]["offset"], now, report["updatedAt"])


class Watch:
    """Looks at all reports and tokens all the time, as readers do; an async context manager.

    Attributes:
        faults: what went back, each in one line.
        newest: the last sighting of each symbol.
        gaps: the longest time between two different reports of each symbol.
        looks: how many sightings there were.
    """

    def __init__(self, reports: Reports, every_sec: float = 0.01) -> None:
        self._reports = reports
        self._every_sec = every_sec
        self._tokens: dict[str, int] = {}
        self.faults: list[str] = []
        self.newest: dict[str, Sighting] = {}
        self.gaps: dict[str, float] = {}
        self.looks = 0

    async def __aenter__(self) -> "Watch":
        self._task = asyncio.create_task(self._look())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task  # raises what stopped it, if anything did: a watch that looked away proves nothing
        assert self.faults == []

    async def _look(self) -> None:
        while True:
            for symbol, seen in (await self._reports.all()).items():
                self._note(symbol, seen)
            for symbol, token in (await self._reports.tokens()).items():
                before = self._tokens.get(symbol, token)
                if token < before:
                    self.faults.append(f"the token of {symbol} fell from {before} to {token}")
                self._tokens[symbol] = token
            await asyncio.sleep(self._every_sec)

    def _note(self, symbol: str, seen: Sighting) -> None:
        self.looks += 1
        before = self.newest.get(symbol)
        if before is not None:
            if seen.epoch < before.epoch or seen.offset < before.offset:
                self.faults.append(f"{symbol} went back from {before} to {seen}")
            if (seen.node, seen.written_ms) == (before.node, before.written_ms):
                return
            self.gaps[symbol] = max(self.gaps.get(symbol, 0.0), seen.seen_at - before.seen_at)
        self.newest[symbol] = seen
