"""The list of symbols: which names have a report.

Finding the names takes a scan of the store, so the names, and only they, are kept for a second, and callers of the
same moment share one scan. Their reports are read anew for each answer: no age or status is ever a second old.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

MOST_LISTED: Final = 500
_KEPT_SEC: Final = 1.0


class SymbolList:
    """Names of at most `MOST_LISTED` symbols, by `scan(limit)`."""

    def __init__(self, scan: Callable[[int], Awaitable[list[str]]]) -> None:
        self._scan = scan
        self._names: list[str] = []
        self._until = 0.0
        self._lock = asyncio.Lock()

    async def get(self) -> list[str]:
        """Return the names, sorted.

        Raises:
            StoreUnavailableError: the store is away.
        """
        async with self._lock:
            if time.monotonic() >= self._until:
                self._names = await self._scan(MOST_LISTED)
                self._until = time.monotonic() + _KEPT_SEC
        return self._names
