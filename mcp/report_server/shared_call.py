"""One call for all who ask at the same moment.

A call is never joined once it has begun: its answer would be older than the question. Who asks meanwhile is answered by
the next one, together with everybody else who does.
"""

import asyncio
from collections.abc import Awaitable, Callable


class SharedCall[T]:
    """Calls `call` once for all that wait for the same turn; its result goes to each of them, or its exception."""

    def __init__(self, call: Callable[[], Awaitable[T]]) -> None:
        self._call = call
        self._next: asyncio.Future[T] | None = None
        self._task: asyncio.Task[None] | None = None

    async def __call__(self) -> T:
        """Return the result of a call that begins now or later; a caller that is cancelled ends it for nobody else."""
        loop = asyncio.get_running_loop()
        if self._next is None:
            self._next = loop.create_future()
        waiting = self._next
        if self._task is None:
            self._task = loop.create_task(self._run())
        return await asyncio.shield(waiting)

    async def _run(self) -> None:
        try:
            while (waiting := self._next) is not None:
                self._next = None
                try:
                    waiting.set_result(await self._call())
                except Exception as error:
                    waiting.set_exception(error)
        finally:
            self._task = None
