"""News of changed reports, from whichever worker wrote them to whoever listens in this reader.

Workers say over Redis which symbol they wrote (`CHANGES_CHANNEL`). A reader subscribes while it has a listener and not
otherwise, so news cost a reader nothing that nobody asked for. They are hints and may be lost, with a connection for
example: whoever listens looks for itself from time to time.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Final

from mcp.server.subscriptions import InMemorySubscriptionBus, ServerEvent
from mcp.shared.subscriptions import ResourceUpdated

from app.stores.base import StoreUnavailableError
from report_server.resources import REPORT_URI

_log = logging.getLogger(__name__)

Listener = Callable[[str], None]
_FIRST_PAUSE_SEC: Final = 0.05
_LONGEST_PAUSE_SEC: Final = 1.0


class Changes:
    """Calls listeners with the symbol of each changed report.

    `source()` yields '' once it is subscribed and then symbols, and raises `StoreUnavailableError` when the
    subscription is lost. Listeners are called on the event loop and must neither block nor raise.
    """

    def __init__(self, source: Callable[[], AsyncIterator[str]]) -> None:
        self._source = source
        self._listeners: dict[object, Listener] = {}
        self._task: asyncio.Task[None] | None = None

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Register `listener`; return what takes it off again, which may be called more than once."""
        token = object()
        self._listeners[token] = listener
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._listen())

        def unsubscribe() -> None:
            self._listeners.pop(token, None)
            if not self._listeners and self._task is not None:
                self._task.cancel()
                self._task = None

        return unsubscribe

    async def close(self) -> None:
        """Stop listening."""
        self._listeners.clear()
        if (task := self._task) is not None:
            self._task = None
            task.cancel()
            await asyncio.wait([task])

    async def _listen(self) -> None:
        pause = _FIRST_PAUSE_SEC
        while True:
            try:
                async for symbol in self._source():
                    pause = _FIRST_PAUSE_SEC
                    for listener in list(self._listeners.values()):
                        listener(symbol)
            except StoreUnavailableError as error:
                _log.debug("no news of changes: %s", error)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SEC)


class ChangesBus:
    """The SDK's `SubscriptionBus` over `Changes`: a changed report is an updated resource, in every reader."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._local = InMemorySubscriptionBus()

    async def publish(self, event: ServerEvent) -> None:
        """Deliver an event of this process; changes of reports come from the workers alone."""
        await self._local.publish(event)

    def subscribe(self, listener: Callable[[ServerEvent], None]) -> Callable[[], None]:
        """Register `listener`; return what takes it off again."""

        def changed(symbol: str) -> None:
            if symbol:
                listener(ResourceUpdated(REPORT_URI + symbol))

        undo = (self._local.subscribe(listener), self._changes.subscribe(changed))

        def unsubscribe() -> None:
            for each in undo:
                each()

        return unsubscribe
