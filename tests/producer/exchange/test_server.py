"""The server as a whole: slow clients, its end, and where it listens."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable
from typing import Any, Protocol

import pytest
from aiohttp import ClientSession, WSCloseCode, WSMsgType

from producer.exchange.messages import Message
from producer.exchange.server import ExchangeServer
from producer.exchange.sim import SimMarket

PassTime = Callable[[float], None]


class Clock(Protocol):
    def __call__(self) -> int: ...

    def pass_time(self, seconds: float) -> None: ...


async def idle_client(server: ExchangeServer, streams: str) -> socket.socket:
    """Connect and subscribe, with a small buffer and without a task that reads."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, (server.host, server.port))
    request = [
        f"GET /stream?streams={streams} HTTP/1.1",
        "Host: localhost",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    ]
    await loop.sock_sendall(client, "\r\n".join([*request, "", ""]).encode())
    assert b"101 Switching" in await loop.sock_recv(client, 100)
    return client


async def read_to_the_end(client: socket.socket) -> None:
    with contextlib.suppress(ConnectionResetError):
        while await asyncio.get_running_loop().sock_recv(client, 65536):
            pass


async def test_a_client_that_does_not_read_is_cut_off_and_holds_nobody_up(
    clock: Callable[[], int], pass_time: PassTime
) -> None:
    market = SimMarket(["BTCUSDT"], seed=7, rate=2000, start_ns=clock())
    streams = "btcusdt@trade/btcusdt@bookTicker/btcusdt@depth20@100ms/btcusdt@depth@100ms"
    async with (
        ExchangeServer(market, clock=clock, max_pending_bytes=1_000_000) as server,
        ClientSession(server.http_url) as http,
        http.ws_connect(f"/stream?streams={streams}", max_msg_size=0) as stream,
    ):
        with contextlib.closing(await idle_client(server, streams)) as idle:
            pass_time(15)
            trade_ids: list[int] = []
            updates = 0
            while updates < 150:
                message = await stream.receive_json(timeout=10)
                updates += message["stream"] == "btcusdt@depth@100ms"
                if message["stream"] == "btcusdt@trade":
                    trade_ids.append(message["data"]["t"])
            assert trade_ids == list(range(trade_ids[0], trade_ids[0] + len(trade_ids)))
            # Some 10 MB were sent, far more than the system buffers. An idle client that was not cut off
            # would now get the rest, and then wait for more without end.
            async with asyncio.timeout(10):
                await read_to_the_end(idle)


async def test_stopping_says_goodbye_and_gives_the_port_back(sim: SimMarket, clock: Callable[[], int]) -> None:
    server = ExchangeServer(sim, clock=clock)
    await server.start()
    async with ClientSession(server.http_url) as http, http.ws_connect("/ws/btcusdt@trade") as stream:
        stopping = asyncio.create_task(server.stop())
        frame = await stream.receive(timeout=10)
        assert frame.type is WSMsgType.CLOSE
        assert frame.data == WSCloseCode.GOING_AWAY
        await stopping
    again = ExchangeServer(sim, clock=clock, port=server.port)
    await again.start()
    await again.stop()


async def test_a_taken_port_is_an_error(server: ExchangeServer, sim: SimMarket) -> None:
    second = ExchangeServer(sim, port=server.port)
    with pytest.raises(OSError, match="in use"):
        await second.start()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.1", "example.org", ""])
def test_a_host_that_others_could_reach_is_refused(sim: SimMarket, host: str) -> None:
    with pytest.raises(ValueError, match=r"is not allowed: 127\.0\.0\.1"):
        ExchangeServer(sim, host=host)


async def test_a_market_that_fails_ends_and_stopping_tells_why(clock: Callable[[], int]) -> None:
    class Broken(SimMarket):
        def advance(self, now_ns: int, wanted: Any) -> Any:
            raise OSError("the tape is gone")

    server = ExchangeServer(Broken(["BTCUSDT"], seed=1, rate=1, start_ns=clock()), clock=clock)
    await server.start()
    async with asyncio.timeout(10):
        await server.ended()
    with pytest.raises(OSError, match="the tape is gone"):
        await server.stop()


async def test_a_market_that_is_too_slow_falls_behind_and_requests_are_still_answered(clock: Clock) -> None:
    class Heavy(SimMarket):
        """Takes twice as long as the time that passes in it."""

        def advance(self, now_ns: int, wanted: Any) -> Any:
            begun, passed = time.perf_counter_ns(), now_ns - self.told_ns
            self.told_ns = now_ns
            while time.perf_counter_ns() < begun + 2 * passed:
                pass
            return iter(())

        told_ns = clock()

    market = Heavy(["BTCUSDT"], seed=1, rate=1, start_ns=clock())
    async with ExchangeServer(market, clock=clock) as server, ClientSession(server.http_url) as http:

        async def behind() -> float:
            async with http.get("/status") as response:
                return float((await response.json())["behind_ms"])

        assert await behind() == 0
        clock.pass_time(0.5)
        answers = [await behind()]
        while answers[-1]:
            answers.append(await behind())
    assert len(answers) > 20, "many answers while it was behind"
    assert answers == sorted(answers, reverse=True)
    assert answers[0] > 400


@pytest.mark.parametrize("length", [1, 125, 126, 65_535, 65_536, 200_000])
async def test_frames_of_every_length_are_read_as_they_were_sent(clock: Clock, length: int) -> None:
    class Verbose(SimMarket):
        def advance(self, now_ns: int, wanted: Any) -> Any:
            yield Message("btcusdt@trade", b"x" * length)
            yield Message("btcusdt@trade", b"y")

    market = Verbose(["BTCUSDT"], seed=1, rate=1, start_ns=clock())
    async with (
        ExchangeServer(market, clock=clock) as server,
        ClientSession(server.http_url) as http,
        http.ws_connect("/ws/btcusdt@trade", max_msg_size=0) as stream,
    ):
        clock.pass_time(0.01)
        assert [await stream.receive_str(timeout=10) for _ in range(2)] == ["x" * length, "y"]
