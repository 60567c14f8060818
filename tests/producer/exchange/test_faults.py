"""Faults of the exchange server, seen by a plain client."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType

from producer.exchange.faults import Double, Drop, Fault, Garble, HalfOpen, Hollow, Lose, Mute, Nonsense, Slow, Swap
from producer.exchange.server import ExchangeServer

DIFFS = "btcusdt@depth@100ms"

PassTime = Callable[[float], None]
Until = Callable[..., Awaitable[None]]


@pytest.fixture
async def socket(server: ExchangeServer, http: ClientSession) -> ClientWebSocketResponse:
    """Give a connection that listens to the diffs of BTCUSDT."""
    return await http.ws_connect(f"{server.ws_url}/ws/{DIFFS}")


async def diffs(socket: ClientWebSocketResponse, pass_time: PassTime, count: int) -> list[Any]:
    """Let 100 ms pass `count` times and return what came."""
    found: list[Any] = []
    for _ in range(count):
        pass_time(0.1)
        try:
            while True:
                found.append((await socket.receive(timeout=0.1)).data)
        except TimeoutError:
            pass
    return found


def ids(texts: list[str]) -> list[int]:
    return [msgspec.json.decode(text)["U"] for text in texts]


async def test_diffs_are_lost(server: ExchangeServer, socket: ClientWebSocketResponse, pass_time: PassTime) -> None:
    server.faults.inject(Lose(DIFFS, 2))
    assert server.faults.pending == 2
    assert await diffs(socket, pass_time, 2) == []
    (text,) = await diffs(socket, pass_time, 1)
    assert msgspec.json.decode(text)["U"] > 1_000_000_001
    assert server.faults.pending == 0


async def test_diffs_are_doubled_swapped_and_cut(
    server: ExchangeServer, socket: ClientWebSocketResponse, pass_time: PassTime
) -> None:
    for fault in (Double(DIFFS), Swap(DIFFS), Garble(DIFFS), Hollow(DIFFS)):
        server.faults.inject(fault)
    found = await diffs(socket, pass_time, 5)
    assert len(found) == 6
    first, again, third, second = ids(found[:4])
    assert first == again < second < third
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(found[4])
    hollow = msgspec.json.decode(found[5])
    assert hollow["b"] == []
    assert hollow["u"] >= hollow["U"] > third


async def test_connections_are_reset(server: ExchangeServer, socket: ClientWebSocketResponse) -> None:
    server.faults.inject(Drop())
    assert (await socket.receive(timeout=5)).type in (WSMsgType.CLOSED, WSMsgType.ERROR)


async def test_a_muted_connection_still_answers_pings(
    server: ExchangeServer, http: ClientSession, pass_time: PassTime
) -> None:
    socket = await http.ws_connect(f"{server.ws_url}/ws/{DIFFS}", autoping=False)
    server.faults.inject(Mute())
    pass_time(0.5)
    await socket.ping(b"there?")
    answer = await socket.receive(timeout=5)
    assert (answer.type, answer.data) == (WSMsgType.PONG, b"there?")
    with pytest.raises(TimeoutError):
        await socket.receive(timeout=0.1)


async def test_a_half_open_connection_answers_nothing_and_new_ones_work(
    server: ExchangeServer, http: ClientSession, pass_time: PassTime
) -> None:
    socket = await http.ws_connect(f"{server.ws_url}/ws/{DIFFS}", autoping=False)
    server.faults.inject(HalfOpen())
    await socket.ping()
    with pytest.raises(TimeoutError):
        await socket.receive(timeout=0.2)
    other = await http.ws_connect(f"{server.ws_url}/ws/{DIFFS}")
    assert len(await diffs(other, pass_time, 1)) == 1


async def test_rest_requests_are_refused_delayed_and_answered_with_nonsense(
    server: ExchangeServer, http: ClientSession
) -> None:
    fault = {"fault": "refuse", "status": 429, "retry_after": 7, "count": 2}
    async with http.post("/faults", json=fault) as answer:
        assert answer.status == 200
    for _ in range(2):
        async with http.get("/api/v3/depth?symbol=BTCUSDT") as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (429, "7")
        async with http.get("/api/v3/ping") as answer:
            assert answer.status == 200
    server.faults.inject(Nonsense())
    async with http.get("/api/v3/depth?symbol=BTCUSDT") as answer:
        with pytest.raises(msgspec.DecodeError):
            msgspec.json.decode(await answer.read())
    server.faults.inject(Slow(seconds=0.2))
    started = time.monotonic()
    async with http.get("/api/v3/depth?symbol=BTCUSDT") as answer:
        assert answer.status == 200
    assert time.monotonic() - started >= 0.2


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{}",
        '{"fault":"nosuch"}',
        '{"fault":"lose"}',
        '{"fault":"lose","stream":"a","count":0}',
        '{"fault":"drop","x":1}',
    ],
)
async def test_a_fault_that_is_not_understood_is_refused_in_one_line(http: ClientSession, body: str) -> None:
    async with http.post("/faults", data=body) as answer:
        assert answer.status == 400
        assert (await answer.text()).count("\n") == 1


def test_every_fault_can_be_asked_for_by_name() -> None:
    decode = msgspec.json.Decoder(Fault).decode
    for name in ("lose", "double", "swap", "garble", "hollow"):
        decode(msgspec.json.encode({"fault": name, "stream": DIFFS}))
    for name in ("drop", "mute", "half_open", "refuse", "slow", "nonsense"):
        decode(msgspec.json.encode({"fault": name}))


async def test_the_market_goes_on_undisturbed(server: ExchangeServer, pass_time: PassTime, until: Until) -> None:
    server.faults.inject(Lose(DIFFS, 100))
    before = server._market.depth("BTCUSDT", 5).last_update_id
    pass_time(1)
    await until(lambda: server._market.depth("BTCUSDT", 5).last_update_id > before)
    await asyncio.sleep(0)
