"""The WebSocket connections, against a real server that notes what it is asked."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import WSMsgType, web
from nautilus_trader.common.component import LiveClock

from app.stack.ports import free_ports
from producer import sockets as sockets_module
from producer.sockets import StreamSockets

Until = Callable[..., Awaitable[None]]


class Server:
    """Notes connections and their SUBSCRIBE messages; can be started and stopped."""

    def __init__(self, port: int) -> None:
        self.url = f"ws://127.0.0.1:{port}"
        self.connections: list[list[list[str]]] = []
        self._port = port
        self._open: set[asyncio.Transport] = set()
        self._runner: web.AppRunner | None = None

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        assert request.transport is not None
        self._open.add(request.transport)
        asked = [request.query["streams"].split("/")]
        self.connections.append(asked)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                asked.append(json.loads(message.data)["params"])
        return socket

    async def start(self) -> None:
        application = web.Application()
        application.router.add_get("/stream", self.handle)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()

    async def stop(self) -> None:
        for transport in self._open:
            transport.abort()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server(*free_ports(1))
    yield server
    await server.stop()


class Reconnects:
    """Counts reconnects and the threads they were told on."""

    def __init__(self) -> None:
        self.threads: list[str] = []

    async def note(self) -> None:
        self.threads.append(threading.current_thread().name)


@pytest.fixture
def reconnects() -> Reconnects:
    return Reconnects()


@pytest.fixture
async def sockets(
    server: Server, reconnects: Reconnects, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[StreamSockets]:
    monkeypatch.setattr(sockets_module, "RETRY_FIRST", 0.05)
    sockets = StreamSockets(
        clock=LiveClock(),
        handler=lambda raw: None,
        handler_reconnect=reconnects.note,
        base_url=server.url,
        loop=asyncio.get_running_loop(),
    )
    yield sockets
    await sockets.disconnect()


async def subscribe(sockets: StreamSockets, count: int) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(sockets.subscribe_trades(f"S{number}"))


async def test_subscriptions_that_come_together_take_one_message(
    server: Server, sockets: StreamSockets, until: Until
) -> None:
    await server.start()
    await subscribe(sockets, 50)
    assert sockets.connected()
    await until(lambda: sum(map(len, server.connections[0])) == 50)
    (asked,) = server.connections
    assert [len(streams) for streams in asked] == [1, 49]
    assert {stream for streams in asked for stream in streams} == {f"s{number}@trade" for number in range(50)}


async def test_a_connection_takes_no_more_streams_than_binance_advises(
    server: Server, sockets: StreamSockets, until: Until
) -> None:
    await server.start()
    await subscribe(sockets, 450)
    await until(lambda: sum(len(streams) for asked in server.connections for streams in asked) == 450)
    assert [sum(map(len, asked)) for asked in server.connections] == [200, 200, 50]


async def test_a_server_that_is_away_at_the_start_is_waited_for(
    server: Server, sockets: StreamSockets, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    subscribing = asyncio.create_task(subscribe(sockets, 3))
    await until(lambda: caplog.text.count("no connection to") >= 2)
    assert not sockets.connected()
    await server.start()
    await subscribing
    assert sockets.connected()
    await until(lambda: sum(map(len, server.connections[0])) == 3)


async def test_after_a_reconnect_every_stream_is_there_again_and_the_loop_knows(
    server: Server, sockets: StreamSockets, reconnects: Reconnects, until: Until
) -> None:
    await server.start()
    await subscribe(sockets, 3)
    await server.stop()
    await until(lambda: not sockets.connected())
    await server.start()
    await until(lambda: bool(reconnects.threads))
    await until(sockets.connected)
    await until(lambda: {stream for asked in server.connections[1] for stream in asked} >= {"s0@trade", "s2@trade"})
    assert reconnects.threads == [threading.current_thread().name]


async def test_a_stream_is_asked_for_once(server: Server, sockets: StreamSockets, until: Until) -> None:
    await server.start()
    await subscribe(sockets, 2)
    await subscribe(sockets, 2)
    await until(lambda: sum(map(len, server.connections[0])) == 2)
    assert len(server.connections) == 1
