"""`subscriptions/listen`: what is told to whom, and its bounds; by the SDK's client in memory."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack
from typing import Any

import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import ResourceUpdated
from prometheus_client import Gauge

from app.stores.memory import MemoryReportStore
from report_server.changes import Changes
from report_server.listening import MOST_LISTENED
from report_server.metrics import ReaderMetrics
from report_server.openings import MOST_OF_A_CLIENT, MOST_STREAMS, Openings
from report_server.server import build_server
from report_server.service import ReportService
from support.news import News
from support.workers import eventually


class Setting:
    """A reader in memory whose news a test makes up."""

    def __init__(self) -> None:
        self.news = News()
        self.gauge = Gauge("streams", "", registry=None)
        self.openings = Openings(self.gauge)

    def client(self) -> Client:
        service = ReportService(MemoryReportStore(300, lambda: 0.0), 5.0, 600_000)
        return Client(build_server(service, ReaderMetrics(), Changes(self.news), self.openings))

    async def open(self) -> int:
        return int(next(iter(self.gauge.collect())).samples[0].value)


@pytest.fixture
async def setting() -> AsyncIterator[Setting]:
    async with asyncio.timeout(30):
        yield Setting()


def listen(client: Client, *symbols: str) -> Any:
    return client.listen(resource_subscriptions=[f"report://{symbol}" for symbol in symbols])


async def next_of(subscription: Any, count: int) -> list[str]:
    events = aiter(subscription)
    return [(await anext(events)).uri.removeprefix("report://") for _ in range(count)]


async def test_a_client_is_told_of_what_it_listens_to_and_of_all_of_it_when_news_may_be_lost(setting: Setting) -> None:
    async with setting.client() as client, listen(client, "AA", "BB") as told:
        assert await next_of(told, 2) == ["AA", "BB"], "until now nobody listened"
        setting.news.tell("CC", "BB")
        assert await next_of(told, 1) == ["BB"]
        setting.news.tell(None)
        assert await next_of(told, 2) == ["AA", "BB"]


async def test_each_report_is_told_of_once_however_often_it_changed_meanwhile(setting: Setting) -> None:
    with ExitStack() as others:
        for _ in range(MOST_STREAMS - 6):
            others.enter_context(setting.openings.opened("others"))
        async with setting.client() as client, listen(client, "AA", "BB") as told:
            assert await next_of(told, 2) == ["AA", "BB"]
            # It pauses for a twentieth of a second now, in which all of these come.
            setting.news.tell(*["AA", "BB"] * 1000)
            assert await next_of(told, 2) == ["AA", "BB"]
            setting.news.tell("BB")
            assert await next_of(told, 1) == ["BB"], "nothing else was waiting"


async def test_what_is_no_report_is_never_told_of(setting: Setting) -> None:
    uris = ["schema://report", "BTCUSDT", "report://btc", "report://AA"]
    async with setting.client() as client, client.listen(resource_subscriptions=uris) as told:
        assert await next_of(told, 1) == ["AA"]
        setting.news.tell("BTCUSDT", None)
        assert await next_of(told, 1) == ["AA"]


async def test_changes_of_lists_may_be_listened_to(setting: Setting) -> None:
    async with (
        setting.client() as client,
        client.listen(tools_list_changed=True, resource_subscriptions=["report://AA"]) as told,
    ):
        assert told.honored.tools_list_changed
        assert await anext(aiter(told)) == ResourceUpdated("report://AA")


async def test_one_client_may_have_so_many_and_who_leaves_makes_room(setting: Setting) -> None:
    async with setting.client() as client:
        async with AsyncExitStack() as stack:
            for _ in range(MOST_OF_A_CLIENT):
                await stack.enter_async_context(listen(client, "AA"))
            assert await setting.open() == MOST_OF_A_CLIENT
            with pytest.raises(MCPError, match=f"you have {MOST_OF_A_CLIENT} streams open"):
                async with listen(client, "AA"):
                    pass

        async def all_closed() -> bool:
            return await setting.open() == 0

        await eventually(all_closed, "all are closed")
        async with listen(client, "AA") as told:
            assert len(await next_of(told, 1)) == 1


async def test_more_resources_than_the_bound_are_refused(setting: Setting) -> None:
    async with setting.client() as client:
        with pytest.raises(MCPError, match=f"allowed: {MOST_LISTENED} at most"):
            async with listen(client, *(f"S{number}" for number in range(MOST_LISTENED + 1))):
                pass
        assert await setting.open() == 0
