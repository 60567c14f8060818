"""`resources/subscribe` of old protocol versions: by the SDK's client over stdio, and its bounds in memory."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError
from mcp_types import ResourceUpdatedNotification

from app.stores.base import Publication
from app.stores.memory import MemoryReportStore
from app.stores.redis import RedisReportStore
from report_server.changes import Changes
from report_server.legacy_subscriptions import MOST_SUBSCRIBED
from report_server.metrics import ReaderMetrics
from report_server.server import build_server
from report_server.service import ReportService
from support.news import News

# The SDK's client warns of what it calls here, since the newest protocol has something else for it.
pytestmark = pytest.mark.filterwarnings(f"ignore::{MCPDeprecationWarning.__module__}.{MCPDeprecationWarning.__name__}")


class Told:
    """What a client was notified of."""

    def __init__(self) -> None:
        self.uris: asyncio.Queue[str] = asyncio.Queue()

    async def __call__(self, message: Any) -> None:
        if isinstance(message, ResourceUpdatedNotification):
            await self.uris.put(message.params.uri)


def in_memory(news: News, told: Told, mode: str = "legacy") -> Client:
    service = ReportService(MemoryReportStore(300, lambda: 0.0), 5.0, 600_000)
    return Client(
        build_server(service, ReaderMetrics(), Changes(news), one_client=True), mode=mode, message_handler=told
    )


@pytest.mark.stack
async def test_over_stdio_a_client_of_an_old_version_is_told_of_what_a_worker_wrote(
    reader_command: list[str],
    reader_env: dict[str, str],
    tmp_path: Path,
    store: RedisReportStore,
    make_report: Callable[[str], bytes],
) -> None:
    async def write() -> None:
        for _ in range(200):
            await store.publish([Publication(name, 1, make_report(name)) for name in ("ETHUSDT", "BTCUSDT")])
            await asyncio.sleep(0.05)

    arguments = [*reader_command[1:], "--transport", "stdio"]
    server = StdioServerParameters(command=reader_command[0], args=arguments, env=reader_env, cwd=tmp_path)
    told = Told()
    async with asyncio.timeout(60), Client(server, mode="legacy", message_handler=told) as client:
        await client.subscribe_resource("report://BTCUSDT")
        written = asyncio.create_task(write())
        first = [await told.uris.get() for _ in range(3)]
        await client.unsubscribe_resource("report://BTCUSDT")
        await client.subscribe_resource("report://ETHUSDT")
        while await told.uris.get() != "report://ETHUSDT":
            pass
        written.cancel()
        await asyncio.wait([written])

    assert first == ["report://BTCUSDT"] * 3


async def test_only_what_was_subscribed_to_is_told_and_each_once_however_often_it_changed() -> None:
    news, told = News(), Told()
    async with asyncio.timeout(20), in_memory(news, told) as client:
        await client.subscribe_resource("report://AA")
        assert await told.uris.get() == "report://AA", "until now nobody listened: it may have changed"
        await client.subscribe_resource("report://BB")
        news.tell(*["AA", "CC", "BB"] * 100)
        assert [await told.uris.get() for _ in range(2)] == ["report://AA", "report://BB"]
        await client.unsubscribe_resource("report://AA")
        news.tell("AA", "BB")
        assert await told.uris.get() == "report://BB"
        assert told.uris.empty()


@pytest.mark.parametrize(
    "uri", ["schema://report", "report://", "report://btc", "BTCUSDT", "report://A/B", "", "x" * 999]
)
async def test_what_is_no_report_cannot_be_subscribed_to(uri: str) -> None:
    async with asyncio.timeout(20), in_memory(News(), Told()) as client:
        with pytest.raises(MCPError, match="allowed: report://"):
            await client.subscribe_resource(uri)


async def test_there_is_a_most_and_who_unsubscribes_makes_room() -> None:
    async with asyncio.timeout(20), in_memory(News(), Told()) as client:
        for number in range(MOST_SUBSCRIBED):
            await client.subscribe_resource(f"report://S{number}")
        with pytest.raises(MCPError, match=f"more than {MOST_SUBSCRIBED}"):
            await client.subscribe_resource("report://ONEMORE")
        await client.subscribe_resource("report://S7")
        await client.unsubscribe_resource("report://S7")
        await client.subscribe_resource("report://ONEMORE")


async def test_a_client_of_the_newest_version_is_told_that_there_is_no_such_method() -> None:
    async with asyncio.timeout(20), in_memory(News(), Told(), "auto") as client:
        with pytest.raises(MCPError):
            await client.subscribe_resource("report://AA")
