"""The connections and the streams on them, against a real server that notes what it is asked."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest
from aiohttp import WSMsgType, web
from nautilus_trader.common.component import LiveClock

from app.stack.ports import free_ports
from producer.sockets import StreamSockets
from producer.timing import Timing

Until = Callable[..., Awaitable[None]]


class Server:
    """Notes connections and their SUBSCRIBE messages; can be started and stopped."""

    def __init__(self, port: int) -> None:
        self.url = f"ws://127.0.0.1:{port}"
        self.connections: list[list[list[str]]] = []
        self.methods: list[str] = []
        self.times: list[float] = []
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
                request = json.loads(message.data)
                asked.append(request["params"])
                self.methods.append(request["method"])
                self.times.append(time.monotonic())
                await socket.send_json({"result": None, "id": request["id"]})
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


class Told:
    """What the connections reported."""

    def __init__(self) -> None:
        self.ready: list[Sequence[str]] = []
        self.lost: list[tuple[Sequence[str], str]] = []


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def sockets(server: Server, told: Told) -> AsyncIterator[StreamSockets]:
    sockets = StreamSockets(
        clock=LiveClock(),
        handler=lambda raw: None,
        ready=told.ready.append,
        lost=lambda streams, reason: told.lost.append((streams, reason)),
        timing=Timing(reconnect_first=0.05, reconnect_longest=0.1),
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
    server: Server, sockets: StreamSockets, told: Told, until: Until
) -> None:
    await server.start()
    await subscribe(sockets, 50)
    assert not sockets.connected()
    await until(sockets.connected)
    (asked,) = server.connections
    assert [len(streams) for streams in asked] == [1, 50]
    assert set(asked[1]) == {f"s{number}@trade" for number in range(50)}
    assert told.ready == [asked[1]]


async def test_a_connection_takes_no_more_streams_than_binance_advises(
    server: Server, sockets: StreamSockets, until: Until
) -> None:
    await server.start()
    await subscribe(sockets, 450)
    await until(sockets.connected)
    asked = [[len(streams) for streams in asked[1:]] for asked in server.connections]
    assert sorted(asked) == [[50], [100, 100], [100, 100]], "in batches"


async def test_a_server_that_is_away_at_the_start_is_waited_for(
    server: Server, sockets: StreamSockets, told: Told, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    await subscribe(sockets, 3)
    await until(lambda: caplog.text.count("not opened") >= 2)
    assert not sockets.connected()
    await server.start()
    await until(sockets.connected)
    assert told.lost == []


async def test_a_lost_connection_is_told_at_once_and_made_anew_with_every_stream(
    server: Server, sockets: StreamSockets, told: Told, until: Until
) -> None:
    await server.start()
    await subscribe(sockets, 3)
    await until(sockets.connected)
    await server.stop()
    await until(lambda: bool(told.lost))
    assert not sockets.connected()
    await server.start()
    await until(sockets.connected)
    streams = ["s0@trade", "s1@trade", "s2@trade"]
    assert told.ready == [streams, streams]
    assert told.lost == [(streams, "dropped")]


async def test_a_stream_is_asked_for_once(server: Server, sockets: StreamSockets, until: Until) -> None:
    await server.start()
    await subscribe(sockets, 2)
    await subscribe(sockets, 2)
    await until(sockets.connected)
    await subscribe(sockets, 2)
    assert [len(streams) for asked in server.connections for streams in asked] == [1, 2]


async def test_connections_that_are_closed_stay_closed(
    server: Server, sockets: StreamSockets, told: Told, until: Until
) -> None:
    await server.start()
    await subscribe(sockets, 1)
    await until(sockets.connected)
    await sockets.disconnect()
    assert not sockets.connected()
    assert told.lost == []
    assert len(server.connections) == 1


async def test_new_streams_go_where_there_is_room_and_disturb_no_other(
    server: Server, sockets: StreamSockets, told: Told, until: Until
) -> None:
    await server.start()
    await subscribe(sockets, 2)
    await until(sockets.connected)
    await subscribe(sockets, 4)
    await until(lambda: len(told.ready) == 2)
    assert told.ready[1] == ["s2@trade", "s3@trade"]
    assert (len(server.connections), told.lost) == (1, [])


async def test_streams_that_are_left_are_unsubscribed_from_and_an_empty_connection_is_closed(
    server: Server, sockets: StreamSockets, told: Told, until: Until
) -> None:
    await server.start()
    await subscribe(sockets, 3)
    await until(sockets.connected)
    await sockets.unsubscribe_trades("S1")
    await until(lambda: "UNSUBSCRIBE" in server.methods)
    assert server.connections[0][-1] == ["s1@trade"]
    assert sockets.connected()
    await sockets.unsubscribe_trades("S0")
    await sockets.unsubscribe_trades("S2")
    await until(lambda: not sockets.connected())
    assert told.lost == []
    await subscribe(sockets, 1)
    await until(sockets.connected)
    assert len(server.connections) == 2


async def test_a_stream_that_is_left_and_wanted_again_at_once_is_left_alone(
    server: Server, sockets: StreamSockets, until: Until
) -> None:
    await server.start()
    await subscribe(sockets, 2)
    await until(sockets.connected)
    await sockets.unsubscribe_trades("S1")
    await sockets.subscribe_trades("S1")
    await sockets.subscribe_trades("S5")
    await until(lambda: len(server.connections[0]) == 3)
    assert server.connections[0][-1] == ["s5@trade"]
    assert server.methods == ["SUBSCRIBE", "SUBSCRIBE"]


async def test_requests_of_a_connection_leave_at_most_four_times_a_second(
    server: Server, sockets: StreamSockets, until: Until
) -> None:
    await server.start()
    await subscribe(sockets, 200)
    await until(sockets.connected)
    for count in (4, 6):
        sockets.renew("s7@trade")
        await until(lambda count=count: len(server.methods) == count)
    took = server.times[-1] - server.times[0]
    assert took > 0.2 * (len(server.times) - 1), "5 a second is what Binance allows"
