import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from app.stores.base import Publication
from app.stores.memory import MemoryReportStore
from report_server.changes import Changes
from report_server.openings import MOST_OF_A_CLIENT, MOST_STREAMS, Openings, TooManyStreamsError
from report_server.service import ReportService
from report_server.stream import ReportStreams
from support.news import News

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("report_server.stream._LOOK_SEC", 0.02)


async def no_news() -> AsyncIterator[str]:
    yield ""
    await asyncio.Event().wait()


def streams(store: Any, monotonic: Callable[[], float] = time.monotonic) -> ReportStreams:
    return ReportStreams(ReportService(store, 1.0, 2000, monotonic=monotonic), Changes(no_news), Openings())


async def events(stream: AsyncIterator[bytes], count: int) -> list[tuple[str, Any]]:
    """Return the next `count` events."""
    found: list[tuple[str, Any]] = []
    async with asyncio.timeout(10):
        while len(found) < count:
            for frame in (await anext(stream)).decode().split("\n\n"):
                lines = dict(line.split(": ", 1) for line in frame.splitlines() if ": " in line and line[0] != ":")
                if "event" in lines:
                    found.append((lines["event"], json.loads(lines["data"])))
    return found


async def test_a_report_whose_writer_goes_quiet_is_sent_again_as_stale(
    make_report: Callable[[str], bytes],
) -> None:
    now = 100.0
    store = MemoryReportStore(300, lambda: now)
    await store.publish([Publication("BTCUSDT", 1, make_report("BTCUSDT"))])
    stream = streams(store, lambda: now).open(["BTCUSDT"])

    (fresh,) = await events(stream, 1)
    now += 5
    (stale,) = await events(stream, 1)

    assert (fresh[1]["ingestion"]["status"], fresh[1]["ingestion"]["stale"]) == ("ok", False)
    assert (stale[1]["ingestion"]["status"], stale[1]["ingestion"]["stale"]) == ("down", True)


async def test_a_symbol_that_goes_stale_is_sent_however_often_another_changes(
    make_report: Callable[[str], bytes],
) -> None:
    now, news = 100.0, News()
    store = MemoryReportStore(300, lambda: now)
    await store.publish([Publication(name, 1, make_report(name)) for name in ("BTCUSDT", "ETHUSDT")])
    service = ReportService(store, 1.0, 2000, monotonic=lambda: now)
    stream = ReportStreams(service, Changes(news), Openings()).open(["BTCUSDT", "ETHUSDT"])
    await events(stream, 2)
    while not news.open:  # noqa: ASYNC110  # the source has no event for it
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert await anext(stream) == b": \n\n", "from here on it hears of each change"

    async def keep_changing() -> None:
        while True:
            news.tell("BTCUSDT")
            await asyncio.sleep(0.002)

    changing = asyncio.create_task(keep_changing())
    now += 5
    seen = {report["symbol"]: report["ingestion"]["stale"] for _, report in await events(stream, 2)}
    changing.cancel()
    await stream.aclose()  # type: ignore[attr-defined]  # it is a generator
    assert seen == {"BTCUSDT": True, "ETHUSDT": True}


async def test_news_that_were_lost_are_found_by_looking(
    memory_store: MemoryReportStore, make_report: Callable[[str], bytes]
) -> None:
    stream = streams(memory_store).open(["BTCUSDT", "ETHUSDT"])
    assert await events(stream, 2) == [("absent", {"symbol": "BTCUSDT"}), ("absent", {"symbol": "ETHUSDT"})]

    await memory_store.publish([Publication("ETHUSDT", 1, make_report("ETHUSDT"))])
    ((name, report),) = await events(stream, 1)

    assert (name, report["symbol"]) == ("report", "ETHUSDT")


async def test_a_store_that_goes_away_is_told_once_and_reports_follow_when_it_is_back(
    memory_store: MemoryReportStore, make_report: Callable[[str], bytes]
) -> None:
    from app.stores.base import StoreUnavailableError

    class Switched:
        away = True

        async def readings(self, symbols: Any) -> Any:
            if self.away:
                raise StoreUnavailableError("gone")
            return await memory_store.readings(symbols)

        async def symbols(self, limit: int) -> list[str]:
            return []

    source = Switched()
    await memory_store.publish([Publication("BTCUSDT", 1, make_report("BTCUSDT"))])
    stream = streams(source).open(["BTCUSDT"], "summary")

    ((name, why),) = await events(stream, 1)
    quiet = [await anext(stream) for _ in range(3)]
    source.away = False
    ((back, _),) = await events(stream, 1)

    assert (name, back) == ("unavailable", "report")
    assert "try again" in why["error"]
    assert set(quiet) == {b": \n\n"}


async def test_line_breaks_in_stored_json_do_not_end_the_event(memory_store: MemoryReportStore) -> None:
    body = b'{\r\n"writer":\n{"writerToken":1},\r\n"updatedAt":\n1700000000000\n}'
    await memory_store.publish([Publication("BTCUSDT", 1, body)])

    ((_, report),) = await events(streams(memory_store).open(["BTCUSDT"]), 1)

    assert report == {"writer": {"writerToken": 1}, "updatedAt": 1700000000000}


async def test_there_are_only_so_many_streams_and_a_closed_one_makes_room(memory_store: MemoryReportStore) -> None:
    opener = streams(memory_store)
    opened: list[Any] = [opener.open(["AA"], client=f"10.0.0.{number % 3}") for number in range(MOST_STREAMS)]
    for stream in opened:
        await anext(stream)

    with pytest.raises(TooManyStreamsError, match=str(MOST_STREAMS)):
        opener.open(["AA"])
    for stream in opened:
        await stream.aclose()
    assert await anext(opener.open(["AA"])) == b"retry: 1000\n\n"


async def test_of_more_streams_that_come_at_once_only_so_many_are_served(memory_store: MemoryReportStore) -> None:
    opener = streams(memory_store)
    opened: list[Any] = [opener.open(["AA"], client="alice") for _ in range(MOST_OF_A_CLIENT + 3)]
    firsts = [await anext(each) for each in opened]
    assert firsts.count(b"retry: 1000\n\n") == MOST_OF_A_CLIENT
    assert firsts[-1].startswith(b'retry: 10000\nevent: refused\ndata: {"error":"you have 128 streams open')
    with pytest.raises(StopAsyncIteration):
        await anext(opened[-1])
    for each in opened:
        await each.aclose()


async def test_one_client_leaves_room_for_others(memory_store: MemoryReportStore) -> None:
    opener = streams(memory_store)
    opened: list[Any] = [opener.open(["AA"], client="token alice") for _ in range(MOST_OF_A_CLIENT)]
    for stream in opened:
        await anext(stream)

    with pytest.raises(TooManyStreamsError, match=f"you have {MOST_OF_A_CLIENT} streams open"):
        opener.open(["AA"], client="token alice")
    bobs: Any = opener.open(["AA"], client="token bob")
    assert await anext(bobs) == b"retry: 1000\n\n"
    await opened.pop().aclose()
    assert await anext(opener.open(["AA"], client="token alice")) == b"retry: 1000\n\n"
    for stream in (bobs, *opened):
        await stream.aclose()


@pytest.mark.parametrize("symbols", [None, [], ["btc"], ["AA"] * 51])
def test_bad_symbols_are_refused_before_the_stream_begins(memory_store: MemoryReportStore, symbols: object) -> None:
    with pytest.raises(ValueError, match="allowed: "):
        streams(memory_store).open(symbols)
