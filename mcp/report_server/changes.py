"""News of changed reports, from whichever worker wrote them to whoever listens in this reader.

Workers say over Redis which symbol they wrote (`CHANGES_CHANNEL`). A reader subscribes while it has a listener and not
otherwise, so news cost a reader nothing that nobody asked for. They are hints and may be lost, with a connection for
example: whoever listens looks for itself from time to time.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection
from typing import Final

from app.stores.base import StoreUnavailableError

_log = logging.getLogger(__name__)

Listener = Callable[[str], None]
_FIRST_PAUSE_SEC: Final = 0.05
_LONGEST_PAUSE_SEC: Final = 1.0


class Changes:
    """Calls listeners with the symbol of each changed report that they want.

    `source()` yields '' once it is subscribed and then symbols, and raises `StoreUnavailableError` when the
    subscription is lost. Listeners are called on the event loop and must neither block nor raise.
    """

    def __init__(self, source: Callable[[], AsyncIterator[str]]) -> None:
        self._source = source
        self._listeners: dict[object, Listener] = {}
        self._of_symbols: dict[str, dict[object, Listener]] = {}
        self._of_all: dict[object, Listener] = {}
        self._task: asyncio.Task[None] | None = None

    def subscribe(self, listener: Listener, symbols: Collection[str] | None = None) -> Callable[[], None]:
        """Register `listener` of these symbols, or of all; return what takes it off again, also more than once."""
        token = object()
        self._listeners[token] = listener
        homes = [self._of_all] if symbols is None else [self._of_symbols.setdefault(each, {}) for each in set(symbols)]
        for home in homes:
            home[token] = listener
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._listen())

        def unsubscribe() -> None:
            self._listeners.pop(token, None)
            for home in homes:
                home.pop(token, None)
            for symbol in symbols or ():
                if not self._of_symbols.get(symbol, True):
                    del self._of_symbols[symbol]
            if not self._listeners and self._task is not None:
                self._task.cancel()
                self._task = None

        return unsubscribe

    async def close(self) -> None:
        """Stop listening."""
        self._listeners.clear()
        self._of_symbols.clear()
        self._of_all.clear()
        if (task := self._task) is not None:
            self._task = None
            task.cancel()
            await asyncio.wait([task])

    def _listening_to(self, symbol: str) -> list[Listener]:
        if not symbol:
            return list(self._listeners.values())
        return [*self._of_symbols.get(symbol, {}).values(), *self._of_all.values()]

    async def _listen(self) -> None:
        pause = _FIRST_PAUSE_SEC
        while True:
            try:
                async for symbol in self._source():
                    pause = _FIRST_PAUSE_SEC
                    for listener in self._listening_to(symbol):
                        listener(symbol)
            except StoreUnavailableError as error:
                _log.debug("no news of changes: %s", error)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SEC)
