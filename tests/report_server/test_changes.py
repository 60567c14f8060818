import asyncio
from collections.abc import AsyncIterator

from mcp.server.subscriptions import ServerEvent
from mcp.shared.subscriptions import ResourcesListChanged, ResourceUpdated

from app.stores.base import StoreUnavailableError
from report_server.changes import Changes, ChangesBus


class Source:
    """News that the test makes up; counts how often it was subscribed to."""

    def __init__(self) -> None:
        self.news: asyncio.Queue[str | None] = asyncio.Queue()
        self.subscribed = 0
        self.open = 0

    async def __call__(self) -> AsyncIterator[str]:
        self.subscribed += 1
        self.open += 1
        try:
            yield ""
            while (symbol := await self.news.get()) is not None:
                yield symbol
            raise StoreUnavailableError("lost")
        finally:
            self.open -= 1


async def heard(changes: Changes, source: Source, *news: str | None) -> list[str]:
    """Listen, make the news, and return what was heard up to the last of them."""
    got: list[str] = []
    last = asyncio.Event()

    def listener(symbol: str) -> None:
        got.append(symbol)
        if symbol == news[-1]:
            last.set()

    unsubscribe = changes.subscribe(listener)
    for each in news:
        source.news.put_nowait(each)
    async with asyncio.timeout(10):
        await last.wait()
    unsubscribe()
    unsubscribe()
    return got


async def test_every_listener_hears_every_change() -> None:
    source = Source()
    changes = Changes(source)
    others: list[str] = []
    changes.subscribe(others.append)

    assert await heard(changes, source, "BTCUSDT", "ETHUSDT") == ["", "BTCUSDT", "ETHUSDT"]
    assert others == ["", "BTCUSDT", "ETHUSDT"]
    assert source.subscribed == 1
    await changes.close()


async def test_without_a_listener_there_is_no_subscription() -> None:
    source = Source()
    changes = Changes(source)
    assert source.subscribed == 0

    await heard(changes, source, "BTCUSDT")
    async with asyncio.timeout(10):
        while source.open:  # noqa: ASYNC110 - the source has no event for it
            await asyncio.sleep(0)

    await heard(changes, source, "ETHUSDT")
    assert source.subscribed == 2
    await changes.close()


async def test_a_lost_subscription_is_renewed_and_listeners_are_told_to_look() -> None:
    source = Source()
    changes = Changes(source)

    assert await heard(changes, source, "AA", None, "BB") == ["", "AA", "", "BB"]
    await changes.close()


async def test_the_bus_makes_updated_resources_of_changes_and_passes_other_events_on() -> None:
    source = Source()
    changes = Changes(source)
    bus = ChangesBus(changes)
    events: list[ServerEvent] = []
    unsubscribe = bus.subscribe(events.append)

    await bus.publish(ResourcesListChanged())
    await heard(changes, source, "BTCUSDT")
    unsubscribe()
    await bus.publish(ResourcesListChanged())

    assert events == [ResourcesListChanged(), ResourceUpdated("report://BTCUSDT")]
    await changes.close()
