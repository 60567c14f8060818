"""A client that reads slowly keeps its answer; one that reads nothing loses its connection."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from report_server.protocol import Connections, bounded_by
from support.workers import eventually

READ_SEC = 1.5
SLOWLY_SEC = 2.5 * READ_SEC
CHUNK = bytes(16 << 20)  # which a slow client reads for longer than that


async def endless(_: Scope, __: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while True:
        await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
        await asyncio.sleep(0)


@pytest.fixture
def connections() -> Connections:
    return Connections()


@pytest.fixture
async def port(connections: Connections) -> AsyncIterator[int]:
    """Serve an answer without an end."""
    protocol = bounded_by(connections, read_sec=READ_SEC)
    config = uvicorn.Config(
        endless, port=0, http=protocol, lifespan="off", log_level="critical", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())

    async def started() -> bool:
        return server.started

    await eventually(started, "it listens")
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    with contextlib.suppress(asyncio.CancelledError):
        await serving


async def test_who_reads_slowly_keeps_the_connection_and_loses_it_when_no_longer_reading(
    port: int, connections: Connections
) -> None:
    closed: list[str] = []
    connections.on_closed = closed.append
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", port))
        await loop.sock_sendall(client, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until = loop.time() + SLOWLY_SEC
        while loop.time() < until:
            assert await loop.sock_recv(client, 64 << 10)
            await asyncio.sleep(0.025)
        assert closed == []

        async def given_up() -> bool:
            return closed == ["slow_reader"]

        await eventually(given_up, "nothing is read, and it is closed")
