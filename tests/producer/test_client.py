"""The data client on NautilusTrader's real message bus; REST is a real server that answers as it is told."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from nautilus_trader.adapters.binance.config import BinanceDataClientConfig
from nautilus_trader.cache.cache import Cache
from nautilus_trader.common.component import LiveClock, MessageBus
from nautilus_trader.model.data import CustomData, TradeTick
from nautilus_trader.model.identifiers import TraderId

from producer.client import BookDataClient, client_factory
from producer.depth import BookDepth
from producer.metrics import Metrics
from producer.rest_limits import limited_http
from producer.timing import Timing
from support.binance import E, books, diff, ticker, top, trade
from support.serving import serving

Until = Callable[..., Awaitable[None]]

MS = 1_000_000


class DepthServer:
    """Answers `/api/v3/depth` with the next of `answers`: an update id, or a status to fail with."""

    def __init__(self) -> None:
        self.answers: dict[str, list[int | web.Response]] = {}
        self.asked: list[str] = []
        self.open = asyncio.Event()
        self.open.set()
        self.url = ""

    async def depth(self, request: web.Request) -> web.Response:
        symbol = request.query["symbol"]
        self.asked.append(symbol)
        assert request.query["limit"] == "1000"
        await self.open.wait()
        answer = self.answers[symbol].pop(0)
        if isinstance(answer, web.Response):
            return answer
        return web.json_response({"lastUpdateId": answer, "bids": [["99.0", "1.0"]], "asks": [["101.0", "2.0"]]})


@pytest.fixture
async def rest() -> AsyncIterator[DepthServer]:
    server = DepthServer()
    async with serving(web.get("/api/v3/depth", server.depth)) as address:
        server.url = f"http://{address}"
        yield server


@pytest.fixture
def received() -> list[Any]:
    return []


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def client(rest: DepthServer, received: list[Any], metrics: Metrics) -> AsyncIterator[BookDataClient]:
    timing = Timing(snapshot_first=0.01, snapshot_longest=0.02, first_diff=0.2, behind=0.1)
    clock = LiveClock()
    bus = MessageBus(TraderId("TESTER-001"), clock)
    bus.register("DataEngine.process", received.append)
    made: list[BookDataClient] = []
    http = limited_http(rest.url, None, None, 5.0)
    client_factory(http, metrics, timing, made.append).create(
        loop=asyncio.get_running_loop(),
        name="BINANCE",
        config=BinanceDataClientConfig(base_url_ws="ws://127.0.0.1:1"),
        msgbus=bus,
        cache=Cache(),
        clock=clock,
    )
    yield made[0]
    await made[0]._disconnect()


def follow(client: BookDataClient, *symbols: str) -> None:
    """Do what a connection does once the symbols' streams come in."""
    client._streams_ready([f"{symbol.lower()}@depth@100ms" for symbol in symbols])


async def test_a_book_begins_unknown_then_snapshot_then_the_diffs_that_continue_it(
    client: BookDataClient, rest: DepthServer, received: list[Any], until: Until
) -> None:
    rest.answers["BTCUSDT"] = [105]
    client._handle_ws_message(diff(100, 104))
    follow(client, "BTCUSDT")
    client._handle_ws_message(diff(105, 108))
    client._handle_ws_message(diff(109, 109))
    await until(lambda: len(books(received)) == 4)
    assert books(received) == [("unknown", 0), ("snapshot", 105), ("diff", 108), ("diff", 109)]
    client._handle_ws_message(diff(110, 112))
    assert books(received)[-1] == ("diff", 112)


async def test_a_gap_is_told_at_once_and_only_for_its_symbol(
    client: BookDataClient, rest: DepthServer, received: list[Any], metrics: Metrics, until: Until
) -> None:
    rest.answers = {"BTCUSDT": [100, 120], "ETHUSDT": [500]}
    follow(client, "BTCUSDT", "ETHUSDT")
    await until(lambda: len(books(received)) == 2 and len(books(received, "ETHUSDT")) == 2)
    client._handle_ws_message(diff(101, 110))
    client._handle_ws_message(diff(115, 118))  # 111 to 114 never came
    assert books(received)[-1] == ("unknown", 110)
    client._handle_ws_message(diff(501, 502, symbol="ETHUSDT"))
    client._handle_ws_message(diff(119, 123))
    await until(lambda: books(received)[-1] == ("diff", 123))
    assert books(received)[2:] == [("diff", 110), ("unknown", 110), ("snapshot", 120), ("diff", 123)]
    assert books(received, "ETHUSDT") == [("unknown", 0), ("snapshot", 500), ("diff", 502)]
    assert (metrics.resyncs("BTCUSDT"), metrics.resyncs("ETHUSDT")) == (2, 1)


async def test_a_snapshot_is_asked_for_until_it_comes_and_fits(
    client: BookDataClient, rest: DepthServer, received: list[Any], metrics: Metrics, until: Until
) -> None:
    empty = web.json_response({"lastUpdateId": 200, "bids": [], "asks": []})
    rest.answers["BTCUSDT"] = [
        web.Response(status=429), web.Response(status=503, text="no"), web.Response(text="{"), empty, 150, 201,
    ]  # fmt: skip
    client._handle_ws_message(diff(200, 202))
    follow(client, "BTCUSDT")
    client._handle_ws_message(diff(200, 202))
    await until(lambda: len(books(received)) == 3)
    assert books(received) == [("unknown", 0), ("snapshot", 201), ("diff", 202)]
    assert len(rest.asked) == 6
    name, labels = "context8_producer_snapshot_failures_total", {"symbol": "BTCUSDT"}
    assert metrics.registry.get_sample_value(name, labels) == 4


async def test_several_causes_at_once_ask_for_one_snapshot(
    client: BookDataClient, rest: DepthServer, received: list[Any], until: Until
) -> None:
    rest.answers["BTCUSDT"] = [100]
    rest.open.clear()
    follow(client, "BTCUSDT")
    await until(lambda: books(received) == [("unknown", 0)])
    client.resync("BTCUSDT", "queue_full")
    client.resync("BTCUSDT", "actor")
    rest.open.set()
    await until(lambda: ("snapshot", 100) in books(received))
    assert books(received) == [("unknown", 0)] * 3 + [("snapshot", 100)]
    assert rest.asked == ["BTCUSDT"]


async def test_a_lost_connection_costs_its_own_books_at_once_and_a_snapshot_is_fetched_when_it_is_back(
    client: BookDataClient, rest: DepthServer, received: list[Any], metrics: Metrics, until: Until
) -> None:
    rest.answers = {"BTCUSDT": [100, 200], "ETHUSDT": [500]}
    follow(client, "BTCUSDT")
    follow(client, "ETHUSDT")
    await until(lambda: len(books(received)) == 2 and len(books(received, "ETHUSDT")) == 2)
    client._streams_lost(["btcusdt@trade", "btcusdt@depth@100ms"], "dropped")
    assert books(received)[-1] == ("unknown", 100)
    client.resync("BTCUSDT", "queue_full")
    assert sorted(rest.asked) == ["BTCUSDT", "ETHUSDT"], "nothing is asked for while the stream is away"
    follow(client, "BTCUSDT")
    client._handle_ws_message(diff(199, 205))
    await until(lambda: books(received)[-1] == ("diff", 205))
    assert books(received)[2:] == [("unknown", 100), ("snapshot", 200), ("diff", 205)]
    assert books(received, "ETHUSDT") == [("unknown", 0), ("snapshot", 500)]
    name = "context8_producer_connections_lost_total"
    assert metrics.registry.get_sample_value(name, {"reason": "dropped"}) == 1


async def test_a_lost_ticker_stream_costs_the_comparison_and_not_the_book(
    client: BookDataClient, rest: DepthServer, received: list[Any], until: Until
) -> None:
    rest.answers["BTCUSDT"] = [100]
    follow(client, "BTCUSDT")
    await until(lambda: len(books(received)) == 2)
    client._handle_ws_message(ticker(100, "99.0", "1.0"))
    for update_id in range(101, 110):
        client._handle_ws_message(diff(update_id, update_id, price=f"99.{update_id}"))
    client._streams_lost(["btcusdt@bookTicker"], "dropped")
    client._handle_ws_message(ticker(110, "99.9", "3.0"))
    (book,) = client.books
    assert (book.truth.compared, book.truth.equal) == (1, 1)
    assert book.update_id == 109


async def test_trades_that_never_came_are_counted(client: BookDataClient, metrics: Metrics) -> None:
    for trade_id in (7, 8, 12, 12, 11, 13):
        client._handle_ws_message(trade(trade_id))
    name, labels = "context8_producer_trades_missed_total", {"symbol": "BTCUSDT"}
    assert metrics.registry.get_sample_value(name, labels) == 3


async def test_trade_ids_that_begin_again_are_said_and_what_is_missing_of_them_is_counted(
    client: BookDataClient, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    for trade_id in (10**9, *range(1, 31), 33):
        client._handle_ws_message(trade(trade_id))
    missed, labels = "context8_producer_trades_missed_total", {"symbol": "BTCUSDT"}
    assert metrics.registry.get_sample_value(missed, labels) == 2
    assert metrics.registry.get_sample_value("context8_producer_ids_began_again_total", labels | {"ids": "trade"}) == 1
    assert "trade ids of BTCUSDT begin again, after 1000000000" in caplog.text


async def test_a_book_that_is_not_followed_is_not_fetched(client: BookDataClient, rest: DepthServer) -> None:
    client._handle_ws_message(diff(1, 2))
    client.resync("BTCUSDT", "queue_full")
    client.resync("NOSUCH", "queue_full")
    assert rest.asked == []


async def test_a_message_that_is_not_understood_is_counted_and_its_diff_shows_as_a_gap(
    client: BookDataClient,
    rest: DepthServer,
    received: list[Any],
    metrics: Metrics,
    caplog: pytest.LogCaptureFixture,
    until: Until,
) -> None:
    rest.answers["BTCUSDT"] = [100, 104]
    follow(client, "BTCUSDT")
    await until(lambda: len(books(received)) == 2)
    with caplog.at_level(logging.ERROR):
        client._handle_ws_message(diff(101, 102, price="abc"))
        client._handle_ws_message(b"no JSON")
        client._handle_ws_message(b'{"stream":"btcusdt@nosuch","data":{}}')
    assert "btcusdt@depth@100ms" in caplog.text
    labels = {"component": "producer.client", "type": "ValueError"}
    assert metrics.registry.get_sample_value("context8_errors_total", labels) == 2
    client._handle_ws_message(diff(103, 104))
    await until(lambda: books(received)[-1] == ("snapshot", 104))
    assert books(received)[2:] == [("unknown", 100), ("snapshot", 104)]


async def test_partial_depth_is_stamped_with_the_time_of_the_exchange(
    client: BookDataClient, received: list[Any]
) -> None:
    client._handle_ws_message(top(7))
    assert received == []  # no time to stamp it with
    before = time.monotonic_ns()
    client._handle_ws_message(trade(1))
    for update_id in range(8, 11):
        client._handle_ws_message(top(update_id))
    passed = time.monotonic_ns() - before
    assert isinstance(received[0], TradeTick)
    depths = [data.data for data in received[1:]]
    assert all(isinstance(data, CustomData) for data in received[1:])
    assert all(isinstance(depth, BookDepth) for depth in depths)
    stamps = [depth.ts_event for depth in depths]
    assert E * MS <= stamps[0] <= stamps[1] <= stamps[2] <= E * MS + passed
    assert [depth.last_update_id for depth in depths] == [8, 9, 10]


async def test_a_snapshot_has_the_time_of_the_diff_that_continues_it(
    client: BookDataClient, rest: DepthServer, received: list[Any], until: Until
) -> None:
    rest.answers["BTCUSDT"] = [105]
    client._handle_ws_message(diff(100, 104, event_time=E))
    follow(client, "BTCUSDT")
    client._handle_ws_message(diff(105, 108, event_time=E + 100))
    client._handle_ws_message(diff(109, 110, event_time=E + 200))
    await until(lambda: len(books(received)) == 4)
    times = [data.ts_event // MS for data in received]
    assert times[1:] == [E + 100, E + 100, E + 200]
    assert times[0] >= E


async def test_diffs_that_change_nothing_keep_the_sequence(
    client: BookDataClient, rest: DepthServer, received: list[Any], until: Until
) -> None:
    rest.answers["BTCUSDT"] = [100]
    follow(client, "BTCUSDT")
    await until(lambda: len(books(received)) == 2)
    client._handle_ws_message(diff(101, 102).replace(b'[["99.5", "3.0"]]', b"[]"))
    client._handle_ws_message(diff(103, 104))
    assert books(received)[2:] == [("diff", 104)]
