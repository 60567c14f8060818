"""The streams, read by a real WebSocket client over a real port."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse

from producer.exchange.market import Market
from producer.exchange.server import ExchangeServer

NS = 1_000_000_000

PassTime = Callable[[float], None]


async def receive(stream: ClientWebSocketResponse) -> Any:
    return await stream.receive_json(timeout=10)


async def snapshot(http: ClientSession, limit: int) -> Any:
    async with http.get(f"/api/v3/depth?symbol=BTCUSDT&limit={limit}") as response:
        return await response.json()


async def ask(stream: ClientWebSocketResponse, method: str, *params: str, id_: int = 1) -> Any:
    """Send a request and return its reply, passing over market data that comes before it."""
    await stream.send_json({"method": method, "params": list(params), "id": id_})
    while "id" not in (reply := await receive(stream)):
        pass
    return reply


async def test_a_combined_stream_wraps_its_messages(http: ClientSession, pass_time: PassTime) -> None:
    names = {"btcusdt@trade", "ethusdt@depth@100ms"}
    async with http.ws_connect(f"/stream?streams={'/'.join(sorted(names))}") as stream:
        pass_time(1)
        seen: set[str] = set()
        while seen != names:
            message = await receive(stream)
            assert list(message) == ["stream", "data"]
            assert message["data"]["s"] == message["stream"].split("@")[0].upper()
            seen.add(message["stream"])


@pytest.mark.parametrize("path", ["/ws/btcusdt@trade", "/ws/btcusdt@trade/ethusdt@trade"])
async def test_a_raw_stream_sends_bare_messages(http: ClientSession, pass_time: PassTime, path: str) -> None:
    async with http.ws_connect(path) as stream:
        pass_time(1)
        trade = await receive(stream)
        assert list(trade) == ["e", "E", "s", "t", "p", "q", "T", "m", "M"]
        assert isinstance(trade["t"], int)
        assert isinstance(trade["p"], str)
        assert isinstance(trade["m"], bool)


@pytest.mark.parametrize(
    ("stream", "fields"),
    [
        ("bookTicker", "usbBaA"),
        ("depth@100ms", "eEsUuba"),
        ("depth", "eEsUuba"),
        ("depth@1000ms", "eEsUuba"),
        ("ticker", "eEspPwxcQbBaAohlvqOCFLn"),
    ],
)
async def test_each_stream_has_binances_fields_in_binances_order(
    http: ClientSession, pass_time: PassTime, stream: str, fields: str
) -> None:
    async with http.ws_connect(f"/stream?streams=btcusdt@{stream}") as connection:
        pass_time(1)
        message = await receive(connection)
        assert message["stream"] == f"btcusdt@{stream}"
        assert "".join(message["data"]) == fields


@pytest.mark.parametrize("levels", [5, 10, 20])
@pytest.mark.parametrize("speed", ["", "@100ms", "@1000ms"])
async def test_partial_depth_sends_that_many_levels(
    http: ClientSession, pass_time: PassTime, levels: int, speed: str
) -> None:
    async with http.ws_connect(f"/ws/btcusdt@depth{levels}{speed}") as stream:
        pass_time(1)
        depth = await receive(stream)
        assert list(depth) == ["lastUpdateId", "bids", "asks"]
        assert len(depth["bids"]) == len(depth["asks"]) == levels


async def test_streams_are_subscribed_and_unsubscribed_while_connected(
    http: ClientSession, pass_time: PassTime
) -> None:
    async with http.ws_connect("/stream") as stream:
        assert await ask(stream, "SUBSCRIBE", "btcusdt@trade", "ethusdt@trade", id_=0) == {
            "result": None,
            "id": 0,
        }
        listed = await ask(stream, "LIST_SUBSCRIPTIONS", id_=1)
        assert listed == {"result": ["btcusdt@trade", "ethusdt@trade"], "id": 1}
        pass_time(1)
        seen: set[str] = set()
        while len(seen) < 2:
            seen.add((await receive(stream))["stream"])
        assert await ask(stream, "UNSUBSCRIBE", "btcusdt@trade", id_=2) == {"result": None, "id": 2}
        pass_time(1)
        for _ in range(20):
            assert (await receive(stream))["stream"] == "ethusdt@trade"


async def test_a_refused_request_leaves_the_connection_and_its_streams_alone(
    http: ClientSession, pass_time: PassTime
) -> None:
    async with http.ws_connect("/ws/btcusdt@trade") as stream:
        await stream.send_str("nonsense")
        assert (await receive(stream))["error"]["code"] == 3
        pass_time(1)
        assert (await receive(stream))["e"] == "trade"


async def test_the_combined_property_changes_the_wrapping(http: ClientSession, pass_time: PassTime) -> None:
    async with http.ws_connect("/ws/btcusdt@trade") as stream:
        await stream.send_json({"method": "SET_PROPERTY", "params": ["combined", True], "id": 5})
        assert await receive(stream) == {"result": None, "id": 5}
        pass_time(1)
        assert (await receive(stream))["stream"] == "btcusdt@trade"


async def test_a_stream_of_an_unknown_symbol_is_accepted_and_silent(http: ClientSession, pass_time: PassTime) -> None:
    async with http.ws_connect("/stream?streams=nopeusdt@trade/btcusdt@trade") as stream:
        pass_time(1)
        for _ in range(20):
            assert (await receive(stream))["stream"] == "btcusdt@trade"


async def test_a_name_that_is_no_stream_is_refused_at_connection(http: ClientSession) -> None:
    async with http.get("/stream?streams=btcusdt@nothing") as response:
        assert response.status == 400
        assert await response.text() == "Invalid request: invalid stream"


async def test_two_clients_get_the_same_messages(http: ClientSession, pass_time: PassTime) -> None:
    path = "/stream?streams=btcusdt@trade/btcusdt@bookTicker"
    async with http.ws_connect(path) as one, http.ws_connect(path) as two:
        pass_time(1)
        assert [await receive(one) for _ in range(100)] == [await receive(two) for _ in range(100)]


async def test_diffs_continue_a_rest_snapshot_taken_in_between(http: ClientSession, pass_time: PassTime) -> None:
    async with http.ws_connect("/ws/btcusdt@depth@100ms") as stream:
        pass_time(0.55)
        for _ in range(5):
            await receive(stream)
        depth = await snapshot(http, limit=5000)
        pass_time(0.5)
        update = await receive(stream)
        assert update["U"] <= depth["lastUpdateId"] + 1 <= update["u"]


def head_of(tape: Path) -> tuple[dict[str, Any], Any]:
    """Return the first message of each stream, and the snapshot."""
    first: dict[str, Any] = {}
    snapshot: Any = None
    for line in tape.read_text().splitlines():
        message = json.loads(line.partition(" ")[2])
        if "stream" in message:
            first.setdefault(message["stream"], message["data"])
        else:
            snapshot = message
    return first, snapshot


async def test_a_tape_starts_after_the_last_of_several_subscriptions_and_loses_nothing(
    made_tape: Path, open_tape: Callable[..., Market], clock: Callable[[], int], pass_time: PassTime
) -> None:
    names = ["btcusdt@depth@100ms", "btcusdt@bookTicker"]
    async with (
        ExchangeServer(open_tape(made_tape, start_delay_ns=NS), clock=clock) as server,
        ClientSession(server.http_url) as http,
    ):
        pass_time(3600)
        async with (
            http.ws_connect("/stream?streams=btcusdt@trade") as trades,
            http.ws_connect("/stream") as books,
        ):
            for id_, name in enumerate(names):
                pass_time(0.7)
                await ask(books, "SUBSCRIBE", name, id_=id_)
            pass_time(0.9)
            depth = await snapshot(http, limit=1000)
            pass_time(4)
            first = {(message := await receive(trades))["stream"]: message["data"]}
            while len(first) < 3:
                message = await receive(books)
                first.setdefault(message["stream"], message["data"])
    recorded, recorded_depth = head_of(made_tape)
    assert depth == recorded_depth
    assert first["btcusdt@trade"]["t"] == recorded["btcusdt@trade"]["t"]
    assert first["btcusdt@depth@100ms"]["U"] == recorded["btcusdt@depth@100ms"]["U"]
    assert first["btcusdt@bookTicker"] == recorded["btcusdt@bookTicker"]
