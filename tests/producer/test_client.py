"""The data client on NautilusTrader's real message bus; REST is a real server that answers as it is told."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from nautilus_trader.adapters.binance.config import BinanceDataClientConfig
from nautilus_trader.adapters.binance.http.client import BinanceHttpClient
from nautilus_trader.cache.cache import Cache
from nautilus_trader.common.component import LiveClock, MessageBus
from nautilus_trader.model.data import CustomData, OrderBookDeltas, TradeTick
from nautilus_trader.model.identifiers import TraderId

from producer import client as client_module
from producer.client import BookDataClient, client_factory
from producer.depth import BookDepth
from producer.metrics import Metrics

Until = Callable[..., Awaitable[None]]

E = 1_723_161_255_208
MS = 1_000_000


class DepthServer:
    """Answers `/api/v3/depth` with the next of `answers`: an update id, or a status to fail with."""

    def __init__(self) -> None:
        self.answers: dict[str, list[int | web.Response]] = {}
        self.asked: list[str] = []
        self.url = ""

    async def depth(self, request: web.Request) -> web.Response:
        symbol = request.query["symbol"]
        self.asked.append(symbol)
        assert request.query["limit"] == "1000"
        answer = self.answers[symbol].pop(0)
        if isinstance(answer, web.Response):
            return answer
        return web.json_response({"lastUpdateId": answer, "bids": [["99.0", "1.0"]], "asks": [["101.0", "2.0"]]})


@pytest.fixture
async def rest() -> AsyncIterator[DepthServer]:
    server = DepthServer()
    application = web.Application()
    application.router.add_get("/api/v3/depth", server.depth)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


@pytest.fixture
def received() -> list[Any]:
    return []


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def client(
    rest: DepthServer, received: list[Any], metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[BookDataClient]:
    monkeypatch.setattr(client_module, "RETRY_FIRST", 0.01)
    monkeypatch.setattr(client_module, "RETRY_LONGEST", 0.02)
    clock = LiveClock()
    bus = MessageBus(TraderId("TESTER-001"), clock)
    bus.register("DataEngine.process", received.append)
    made: list[BookDataClient] = []
    http = BinanceHttpClient(clock, None, None, rest.url)
    client_factory(http, metrics, made.append).create(
        loop=asyncio.get_running_loop(),
        name="BINANCE",
        config=BinanceDataClientConfig(base_url_ws="ws://127.0.0.1:1"),
        msgbus=bus,
        cache=Cache(),
        clock=clock,
    )
    yield made[0]
    await made[0].cancel_pending_tasks()


def diff(first: int, final: int, symbol: str = "BTCUSDT", event_time: int = E, price: str = "99.5") -> bytes:
    return json.dumps(
        {
            "stream": f"{symbol.lower()}@depth@100ms",
            "data": {
                "e": "depthUpdate", "E": event_time, "s": symbol, "U": first, "u": final,
                "b": [[price, "3.0"]], "a": [],
            },
        }
    ).encode()  # fmt: skip


def top(update_id: int, symbol: str = "BTCUSDT") -> bytes:
    levels = {"lastUpdateId": update_id, "bids": [["99.5", "3.0"]], "asks": [["101.0", "2.0"]]}
    return json.dumps({"stream": f"{symbol.lower()}@depth20@100ms", "data": levels}).encode()


def trade(trade_id: int, event_time: int = E, symbol: str = "BTCUSDT") -> bytes:
    data = {
        "e": "trade", "E": event_time, "s": symbol, "t": trade_id, "p": "99.5", "q": "0.1",
        "T": event_time - 1, "m": True, "M": True,
    }  # fmt: skip
    return json.dumps({"stream": f"{symbol.lower()}@trade", "data": data}).encode()


def follow(client: BookDataClient, *symbols: str) -> None:
    """Do what a subscription does once the first diff is there."""
    for symbol in symbols:
        market = client._market(symbol)
        market.following = True
        client._perform(market, market.sync.lose("start"))


def books(received: list[Any], symbol: str = "BTCUSDT") -> list[tuple[str, int]]:
    """What was sent on of the symbol's book, in short."""
    found = []
    for data in received:
        if isinstance(data, OrderBookDeltas) and data.instrument_id.symbol.value == symbol:
            names = [delta.action.name for delta in data.deltas]
            kind = "unknown" if names == ["CLEAR"] else "snapshot" if names[0] == "CLEAR" else "diff"
            found.append((kind, data.sequence))
    return found


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
    follow(client, "BTCUSDT")
    client.resync("BTCUSDT", "queue_full")
    await client._reconnect()
    await until(lambda: ("snapshot", 100) in books(received))
    assert books(received) == [("unknown", 0)] * 3 + [("snapshot", 100)]
    assert rest.asked == ["BTCUSDT"]


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
    labels = {"component": "producer.client", "type": "InvalidOperation"}
    assert metrics.registry.get_sample_value("context8_errors_total", labels) == 1
    client._handle_ws_message(diff(103, 104))
    await until(lambda: books(received)[-1] == ("snapshot", 104))
    assert books(received)[2:] == [("unknown", 100), ("snapshot", 104)]


async def test_the_answer_to_a_subscription_is_no_error(client: BookDataClient, metrics: Metrics) -> None:
    client._handle_ws_message(b'{"result":null,"id":1}')
    samples = [sample.name for family in metrics.registry.collect() for sample in family.samples]
    assert "context8_errors_total" not in samples


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
