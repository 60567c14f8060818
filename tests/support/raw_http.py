"""Many HTTP requests as raw bytes over a few connections: what no client library would send, and faster than one."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlsplit


class RawAnswer(NamedTuple):
    """Status and body; status 0 where the connection was closed without an answer."""

    status: int
    body: bytes


def get(path: str) -> bytes:
    """Return a GET whose path is sent as it is."""
    return b"GET " + path.encode("latin-1") + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"


def post(body: bytes, headers: dict[str, str]) -> bytes:
    """Return a POST to /mcp; the headers come without its length."""
    lines = [*(f"{name}: {value}" for name, value in headers.items()), f"content-length: {len(body)}"]
    return b"POST /mcp HTTP/1.1\r\n" + "\r\n".join([*lines, "", ""]).encode("latin-1") + body


async def answers(url: str, requests: Sequence[bytes], connections: int = 8) -> list[RawAnswer]:
    """Send the requests, each once the one before it on its connection was answered; answers in the same order."""
    found: dict[int, RawAnswer] = {}
    async with asyncio.TaskGroup() as group:
        for first in range(connections):
            group.create_task(_converse(url, dict(list(enumerate(requests))[first::connections]), found))
    return [found[number] for number in range(len(requests))]


async def _converse(url: str, requests: dict[int, bytes], found: dict[int, RawAnswer]) -> None:
    address = urlsplit(url)
    left = deque(requests.items())
    while left:
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        try:
            stays = True
            while left and stays:
                number, request = left.popleft()
                writer.write(request)
                found[number], stays = await _answer(reader)
        finally:
            writer.close()


async def _answer(reader: asyncio.StreamReader) -> tuple[RawAnswer, bool]:
    """Return the answer and whether the connection can be used again."""
    try:
        async with asyncio.timeout(20):
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            status = int(head.split(b" ", 2)[1])
            if b"\r\ncontent-length: " not in head:
                return RawAnswer(status, b""), status in (202, 304)
            length = int(head.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0])
            return RawAnswer(status, await reader.readexactly(length)), b"\r\nconnection: close" not in head
    except (asyncio.IncompleteReadError, ConnectionError):
        return RawAnswer(0, b""), False
