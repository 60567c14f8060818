"""Reads of the same moment share one round trip, none waits longer than the limit, and a stuck store piles nothing up.

One batch of symbols is on its way at a time. What is asked meanwhile gathers in the next batch, so a reader under load
asks for more at once instead of more often. A read never joins a batch that was sent before it was asked: its answer
is at least as new as the question, which a cache could not promise.

When the store fails or a batch is late, every waiting read fails, and from then on reads fail at once, while one probe
after the other finds out when the store answers again. So calls never queue up behind a dead store.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from app.stores.base import StoreUnavailableError

ReadMany = Callable[[Sequence[str]], Awaitable[Sequence[bytes | None]]]

# Lower case, so that no report can ever have it: the probe's key is report:health.
PROBE: Final = "health"
_GRACE_SEC: Final = 0.01
_FIRST_PAUSE_SEC: Final = 0.005
_LONGEST_PAUSE_SEC: Final = 0.02


class _Batch:
    """Symbols asked for together, who waits for each, and the timer that ends the wait."""

    __slots__ = ("timer", "waiting")

    timer: asyncio.TimerHandle

    def __init__(self) -> None:
        self.waiting: dict[str, list[asyncio.Future[bytes | None]]] = {}

    def answer(self, bodies: Sequence[bytes | None]) -> None:
        self.timer.cancel()
        for waiters, body in zip(self.waiting.values(), bodies, strict=True):
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(body)

    def fail(self, error: Exception) -> None:
        self.timer.cancel()
        for waiters in self.waiting.values():
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_exception(error)


class SharedReads:
    """Reads of one report each over `read_many`, which answers for many symbols in one round trip.

    `read_many` may raise `StoreUnavailableError`. It is called for one batch at a time, and must end by itself (by a
    timeout of its own) even where the store says nothing.
    """

    def __init__(self, read_many: ReadMany, limit_sec: float) -> None:
        self._read_many = read_many
        self._limit_sec = limit_sec
        self._next: _Batch | None = None
        self._under_way: _Batch | None = None
        self._task: asyncio.Task[None] | None = None
        self._down: str | None = None

    @property
    def down(self) -> str | None:
        """Why reads fail at once at present, `None` while they do not."""
        return self._down

    async def read(self, symbol: str) -> bytes | None:
        """Return the newest report of `symbol` within the limit.

        Raises:
            StoreUnavailableError: the store failed, was late, or is known to be away.
        """
        waiter = self._join(symbol)
        self._start()
        return await waiter

    async def read_all(self, symbols: Sequence[str]) -> list[bytes | None]:
        """Return the newest reports of `symbols`, all from one moment; see `read`."""
        waiters = [self._join(symbol) for symbol in symbols]
        self._start()
        return await asyncio.gather(*waiters)

    async def close(self) -> None:
        """Give up what is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._fail_all("the reader is closing")

    def _join(self, symbol: str) -> asyncio.Future[bytes | None]:
        loop = asyncio.get_running_loop()
        # One future for each read, never shared: a caller that is cancelled must not cancel the others.
        waiter: asyncio.Future[bytes | None] = loop.create_future()
        if self._down is not None:
            waiter.set_exception(StoreUnavailableError(self._down))
            return waiter
        if self._next is None:
            self._next = _Batch()
            self._next.timer = loop.call_later(self._limit_sec, self._late, self._next)
        self._next.waiting.setdefault(symbol, []).append(waiter)
        return waiter

    def _start(self) -> None:
        if self._task is None and self._next is not None:
            # Eager: a turn of the loop costs more than all else here, and a lone caller would wait for it.
            task = asyncio.Task(self._run(), loop=asyncio.get_running_loop(), eager_start=True)
            self._task = None if task.done() else task

    async def _run(self) -> None:
        try:
            while self._next is not None or self._down is not None:
                self._under_way, self._next = self._next, None
                if not await self._fly(self._under_way):
                    await self._wait_for_the_store()
        finally:
            self._task = self._under_way = None

    async def _fly(self, batch: _Batch | None) -> bool:
        try:
            bodies = await self._read_many(list(batch.waiting) if batch else [PROBE])
        except StoreUnavailableError as error:
            self._fail_all(str(error))
            self._down = str(error)
            return False
        except Exception as error:
            if batch:
                batch.fail(error)
            return True
        self._down = None
        if batch:
            batch.answer(bodies)
        return True

    async def _wait_for_the_store(self) -> None:
        pause = _FIRST_PAUSE_SEC
        while self._down is not None:
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SEC)
            await self._fly(None)

    def _late(self, batch: _Batch) -> None:
        # Where this process was the slow one, the answer is here already and only waits for its turn of the loop.
        batch.timer = asyncio.get_running_loop().call_later(_GRACE_SEC, self._expire)

    def _expire(self) -> None:
        self._down = f"no answer within {self._limit_sec * 1000:.0f} ms"
        self._fail_all(self._down)

    def _fail_all(self, why: str) -> None:
        for batch in (self._under_way, self._next):
            if batch is not None:
                batch.fail(StoreUnavailableError(why))
        self._next = None
