"""News of changed reports that a test makes up."""

import asyncio
from collections.abc import AsyncIterator

from app.stores.base import StoreUnavailableError


class News:
    """A source of `report_server.changes.Changes`; `None` among its news is a lost subscription.

    Attributes:
        subscribed: how often it was subscribed to.
        open: how many subscriptions there are now.
    """

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[str | None] = asyncio.Queue()
        self.subscribed = 0
        self.open = 0

    def tell(self, *news: str | None) -> None:
        """Make some news; all of them come in one turn of the loop."""
        for each in news:
            self._waiting.put_nowait(each)

    async def __call__(self) -> AsyncIterator[str]:
        self.subscribed += 1
        self.open += 1
        try:
            yield ""
            while (symbol := await self._waiting.get()) is not None:
                yield symbol
            raise StoreUnavailableError("lost")
        finally:
            self.open -= 1
