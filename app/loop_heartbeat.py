"""Heartbeats that tell of the worker's own event loop, not only of the thread that sends them.

Kafka's client runs in a thread of its own, with a loop of its own. It would go on sending heartbeats for a worker whose
main thread hangs, in a write to a full pipe or on a disk that does not answer: the group would think it well, and its
symbols would get no reports. So with a heartbeat the worker's loop is asked for a turn, and while it owes one for
longer than our patience none is sent: after the session timeout its partitions go to others, as those of a frozen
process do. A loop that is merely busy delays no heartbeat.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

_LOOK_SEC: Final = 0.02
_PATIENCE_SEC: Final = 0.25
# All symbols are saved or restored in one go, 10 ms for one with full windows: expelled for that, a worker would have
# to do it all over again.
_REBALANCE_PATIENCE_SEC: Final = 30.0


def patience_sec(rebalancing: bool) -> float:
    """Return for how many seconds a worker's loop may owe a turn."""
    return _REBALANCE_PATIENCE_SEC if rebalancing else _PATIENCE_SEC


class Heartbeat:
    """Sends heartbeats by `send`, for as long as `loop`, which is another thread's, turns."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        send: Callable[[], Awaitable[bool]],
        patience: Callable[[], float],
    ) -> None:
        """Let the loop owe a turn for `patience()` seconds, which is asked at each look."""
        self._loop = loop
        self._send = send
        self._patience = patience
        self._asked_at: float | None = None

    async def beat(self) -> bool:
        """Send one, unless the loop hangs: then as soon as it turns again; return what `send` does."""
        if self._asked_at is None:
            self._asked_at = time.monotonic()
            self._loop.call_soon_threadsafe(self._turn)
        while self._hangs():  # noqa: ASYNC110  # an asyncio.Event is for one loop, not for two
            await asyncio.sleep(_LOOK_SEC)
        return await self._send()

    def _hangs(self) -> bool:
        asked_at = self._asked_at
        return asked_at is not None and time.monotonic() - asked_at > self._patience()

    def _turn(self) -> None:
        self._asked_at = None
