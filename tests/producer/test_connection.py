"""One connection against a server that refuses, falls silent, or talks out of turn."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest
from aiohttp import WSMsgType, web

from producer.connection import Connection
from producer.timing import Timing
from support.serving import serving

Until = Callable[..., Awaitable[None]]

TIMING = Timing(
    request_pace=0.01,
    idle=0.2,
    answer=0.1,
    idle_longest=0.8,
    overload=0.5,
    open_limit=0.3,
    reconnect_first=0.02,
    reconnect_longest=0.04,
)


class Server:
    """Answers SUBSCRIBE by `reply`; what it sends is up to the test."""

    def __init__(self) -> None:
        self.refused: set[str] = set()
        self.sockets: list[web.WebSocketResponse] = []
        self.reply: dict[str, object] | None = {"result": None}
        self.before_reply: list[str] = []
        self.asked: list[str] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                continue
            request_ = json.loads(message.data)
            self.asked.append(request_["method"])
            if self.refused.intersection(request_.get("params", ())):
                error = {"code": 2, "msg": "Invalid request: invalid stream"}
                await socket.send_json({"error": error, "id": request_["id"]})
            elif self.reply is not None:
                for text in self.before_reply:
                    await socket.send_str(text)
                await socket.send_json(self.reply | {"id": json.loads(message.data)["id"]})
        return socket

    async def send(self, text: str) -> None:
        await self.sockets[-1].send_str(text)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    async with serving(web.get("/stream", server.handle)) as address:
        server.url = f"ws://{address}"
        yield server


class Told:
    """What the connection reported, in order."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def received(self, raw: bytes) -> None:
        self.said.append(raw.decode())

    def ready(self, streams: Sequence[str]) -> None:
        self.said.append("ready")

    def lost(self, streams: Sequence[str], reason: str) -> None:
        self.said.append(reason)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def connection(server: Server, told: Told) -> AsyncIterator[Connection]:
    connection = Connection(
        server.url,
        ["a@trade", "b@trade"],
        received=told.received,
        ready=told.ready,
        lost=told.lost,
        timing=TIMING,
    )
    yield connection
    await connection.stop()


MESSAGE = '{"stream":"a@trade","data":1}'


async def test_messages_are_handed_over_between_ready_and_lost_only(
    server: Server, connection: Connection, told: Told, until: Until
) -> None:
    server.before_reply = [MESSAGE]
    await until(lambda: connection.is_ready)
    await server.send(MESSAGE.replace("1", "2"))
    await until(lambda: len(told.said) == 2)
    await server.sockets[0].close()
    await until(lambda: told.said.count("ready") == 2)
    assert told.said == ["ready", MESSAGE.replace("1", "2"), "dropped", "ready"]


async def test_a_silent_connection_that_answers_nothing_is_made_anew(
    server: Server, connection: Connection, told: Told, until: Until
) -> None:
    await until(lambda: connection.is_ready)
    server.reply = None
    await until(lambda: told.said == ["ready", "silent"])
    server.reply = {"result": None}
    await until(lambda: told.said == ["ready", "silent", "ready"])
    assert server.asked[:2] == ["SUBSCRIBE", "LIST_SUBSCRIPTIONS"]


async def test_a_quiet_market_is_left_alone_as_long_as_the_exchange_answers(
    server: Server, connection: Connection, told: Told, until: Until
) -> None:
    await until(lambda: server.asked.count("LIST_SUBSCRIPTIONS") == 3)
    assert told.said == ["ready"]
    await until(lambda: told.said[:3] == ["ready", "silent", "ready"])
    assert len(server.sockets) == 2, "made anew once silence had lasted too long all the same"


@pytest.mark.parametrize("reply", [None, {"error": {"code": 2, "msg": "invalid stream"}}])
async def test_a_subscription_that_is_refused_or_not_answered_is_tried_again(
    server: Server, connection: Connection, told: Told, until: Until, reply: dict[str, object] | None
) -> None:
    server.reply = reply
    await until(lambda: len(server.sockets) == 2)
    assert not connection.is_ready
    assert told.said == []
    server.reply = {"result": None}
    await until(lambda: connection.is_ready)
    assert told.said == ["ready"]


async def test_what_is_no_json_is_handed_over_for_others_to_count(
    server: Server, connection: Connection, told: Told, until: Until
) -> None:
    await until(lambda: connection.is_ready)
    for text in ("nonsense", '{"data":1,"stream":"a@trade"}', '{"result":null,"id":99}', MESSAGE):
        await server.send(text)
    await until(lambda: MESSAGE in told.said)
    assert told.said == ["ready", "nonsense", '{"data":1,"stream":"a@trade"}', MESSAGE]


async def test_a_connection_that_we_cannot_keep_up_with_is_given_up_with_all_that_it_has_queued(
    server: Server, connection: Connection, told: Told, until: Until
) -> None:
    await until(lambda: connection.is_ready)
    for number in range(50):
        await server.send(MESSAGE.replace("1", str(number)))
    time.sleep(1.3 * TIMING.overload)  # noqa: ASYNC251  (the event loop itself is busy)
    await until(lambda: told.said.count("ready") == 2)
    assert "overloaded" in told.said


async def test_a_connection_that_is_stopped_reports_nothing(server: Server, connection: Connection, told: Told) -> None:
    async with asyncio.timeout(5):
        await connection.stop()
    assert told.said == []


async def test_a_stream_that_is_refused_is_tried_again_and_the_others_go_on(
    server: Server, connection: Connection, told: Told, until: Until
) -> None:
    server.refused = {"c@trade"}
    await until(lambda: connection.is_ready)
    connection.add(["c@trade"])
    await until(lambda: server.asked.count("SUBSCRIBE") == 3)
    await server.send(MESSAGE)
    await until(lambda: MESSAGE in told.said)
    server.refused.clear()
    await until(lambda: told.said.count("ready") == 2)
    assert set(told.said) == {"ready", MESSAGE}
    assert len(server.sockets) == 1


async def test_a_stream_that_is_renewed_is_no_news_to_its_listener(
    server: Server, connection: Connection, told: Told, until: Until
) -> None:
    await until(lambda: connection.is_ready)
    connection.renew("b@trade")
    await until(lambda: server.asked == ["SUBSCRIBE", "UNSUBSCRIBE", "SUBSCRIBE"])
    connection.add(["c@trade"])
    await until(lambda: told.said == ["ready", "ready"])


async def test_what_was_added_and_removed_while_it_was_away_holds_for_the_next_connection(
    server: Server, connection: Connection, told: Told, until: Until
) -> None:
    await until(lambda: connection.is_ready)
    await server.sockets[0].close()
    await until(lambda: "dropped" in told.said)
    connection.add(["c@trade"])
    connection.remove(["a@trade"])
    await until(lambda: connection.is_ready)
    assert connection.streams == ["b@trade", "c@trade"]
    assert told.said == ["ready", "dropped", "ready"]
