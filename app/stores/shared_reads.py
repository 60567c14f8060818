"""Reads of the same moment share one round trip, none waits longer than the limit, and a stuck store piles nothing up.

One batch of symbols is on its way at a time. What is asked meanwhile gathers in the next batch, so a reader under load
asks for more at once instead of more often. A read never joins a batch that was sent before it was asked: its answer
is at least as new as the question, which a cache could not promise.

When the store fails or a batch is late, every waiting read fails, and from then on reads fail at once, while one probe
after the other finds out when the store answers again. So calls never queue up behind a dead store.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from app.stores.base import StoreUnavailableError

type ReadMany[Read] = Callable[[Sequence[str]], Awaitable[Mapping[str, Read]]]

# Lower case, so that no report can ever have it: the probe's key is report:health.
PROBE: Final = "health"
_GRACE_SEC: Final = 0.01
_FIRST_PAUSE_SEC: Final = 0.005
_LONGEST_PAUSE_SEC: Final = 0.02


class _Batch[Read]:
    """Symbols asked for together, who waits for each, and the timer that ends the wait."""

    __slots__ = ("timer", "waiting")

    timer: asyncio.TimerHandle

    def __init__(self) -> None:
        self.waiting: dict[str, list[asyncio.Future[Read]]] = {}

    def answer(self, bodies: Mapping[str, Read]) -> None:
        self.timer.cancel()
        for symbol, waiters in self.waiting.items():
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(bodies[symbol])

    def fail(self, error: Exception) -> None:
        self.timer.cancel()
        for waiters in self.waiting.values():
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_exception(error)


class SharedReads[Read]:
    """Reads of one report each over `read_many`, which answers for many symbols in one round trip.

    `Read` is what it answers for each, `None` where there is no report.

    `read_many` may raise `StoreUnavailableError`. It is called for one batch at a time, and must end by itself (by a
    timeout of its own) even where the store says nothing.
    """

    def __init__(self, read_many: ReadMany[Read], limit_sec: float) -> None:
        self._read_many = read_many
        self._limit_sec = limit_sec
        self._next: _Batch[Read] | None = None
        self._under_way: _Batch[Read] | None = None
        self._task: asyncio.Task[None] | None = None
        self._down: StoreUnavailableError | None = None

    @property
    def down(self) -> StoreUnavailableError | None:
        """Why reads fail at once at present, `None` while they do not; an exception of its own for each who asks."""
        return None if self._down is None else StoreUnavailableError(str(self._down), self._down.kind)

    async def read(self, symbol: str) -> Read:
        """Return the newest report of `symbol` within the limit.

        Raises:
            StoreUnavailableError: the store failed, was late, or is known to be away.
        """
        waiter = self._join(symbol)
        self._start()
        return await waiter

    async def read_all(self, symbols: Sequence[str]) -> list[Read]:
        """Return the newest reports of `symbols`, all from one moment; see `read`."""
        waiters = [self._join(symbol) for symbol in symbols]
        self._start()
        return await asyncio.gather(*waiters)

    async def close(self) -> None:
        """Give up what is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._fail_all(StoreUnavailableError("the reader is closing"))

    def _join(self, symbol: str) -> asyncio.Future[Read]:
        loop = asyncio.get_running_loop()
        # One future for each read, never shared: a caller that is cancelled must not cancel the others.
        waiter: asyncio.Future[Read] = loop.create_future()
        if (down := self.down) is not None:
            waiter.set_exception(down)
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

    async def _fly(self, batch: _Batch[Read] | None) -> bool:
        try:
            bodies = await self._read_many(list(batch.waiting) if batch else [PROBE])
        except StoreUnavailableError as error:
            self._fail_all(error)
            self._down = error
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

    def _late(self, batch: _Batch[Read]) -> None:
        # Where this process was the slow one, the answer is here already and only waits for its turn of the loop.
        batch.timer = asyncio.get_running_loop().call_later(_GRACE_SEC, self._expire)

    def _expire(self) -> None:
        self._down = StoreUnavailableError(f"no answer within {self._limit_sec * 1000:.0f} ms")
        self._fail_all(self._down)

    def _fail_all(self, why: StoreUnavailableError) -> None:
        for batch in (self._under_way, self._next):
            if batch is not None:
                batch.fail(why)
        self._next = None
