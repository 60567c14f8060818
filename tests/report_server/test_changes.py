import asyncio

from report_server.changes import Changes
from support.news import News


async def heard(changes: Changes, source: News, *news: str | None) -> list[str]:
    """Listen, make the news, and return what was heard up to the last of them."""
    got: list[str] = []
    last = asyncio.Event()

    def listener(symbol: str) -> None:
        got.append(symbol)
        if symbol == news[-1]:
            last.set()

    unsubscribe = changes.subscribe(listener)
    source.tell(*news)
    async with asyncio.timeout(10):
        await last.wait()
    unsubscribe()
    unsubscribe()
    return got


async def test_every_listener_hears_every_change() -> None:
    source = News()
    changes = Changes(source)
    others: list[str] = []
    changes.subscribe(others.append)

    assert await heard(changes, source, "BTCUSDT", "ETHUSDT") == ["", "BTCUSDT", "ETHUSDT"]
    assert others == ["", "BTCUSDT", "ETHUSDT"]
    assert source.subscribed == 1
    await changes.close()


async def test_without_a_listener_there_is_no_subscription() -> None:
    source = News()
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
    source = News()
    changes = Changes(source)

    assert await heard(changes, source, "AA", None, "BB") == ["", "AA", "", "BB"]
    await changes.close()


async def test_a_listener_of_some_symbols_hears_of_these_alone_and_of_lost_news() -> None:
    source = News()
    changes = Changes(source)
    some: list[str] = []
    unsubscribe = changes.subscribe(some.append, ["AA", "BB", "AA"])

    await heard(changes, source, "AA", "CC", "BB", None, "AA", "DD")
    assert some == ["", "AA", "BB", "", "AA"]

    unsubscribe()
    unsubscribe()
    assert await heard(changes, source, "AA") == ["", "AA"]
    assert len(some) == 5
    assert changes._of_symbols == {}
    await changes.close()
