"""The reader's fast path and the SDK's own app over one store, and a way to ask both the same."""

import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from mcp_types import Implementation
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import __version__
from report_server.fast_path import FastPath
from report_server.metrics import ReaderMetrics
from report_server.security import HostGate, transport_security
from report_server.server import NAME, TITLE, build_sdk_app
from report_server.service import ReportService
from support.mcp_requests import Request


class Reply(NamedTuple):
    """What came back; content is parsed JSON, or the bytes where they are none."""

    status: int
    headers: dict[str, str]
    content: Any


class Pair(NamedTuple):
    """Both servers over one store, and the requests that the SDK's app got to see behind the fast path."""

    fast: ASGIApp
    sdk: ASGIApp
    passed_on: list[Scope]


@asynccontextmanager
async def paired(source: Any) -> AsyncIterator[Pair]:
    """Give both, over a store that stands still."""
    now = time.monotonic() + 1.234
    security = transport_security("127.0.0.1", [])
    service, metrics = ReportService(source, 5.0, 600_000, monotonic=lambda: now), ReaderMetrics()
    sdk = build_sdk_app(service, metrics, security)
    passed_on: list[Scope] = []

    async def spied(scope: Scope, receive: Receive, send: Send) -> None:
        passed_on.append(scope)
        await sdk(scope, receive, send)

    info = Implementation(name=NAME, title=TITLE, version=__version__)
    fast = FastPath(spied, service, metrics, HostGate(security), info)
    async with sdk.router.lifespan_context(sdk):
        yield Pair(fast, sdk, passed_on)
    await service.close()


async def ask(app: ASGIApp, request: Request) -> Reply:
    """Send the request to the app and return what it answers; status 0 where it says nothing."""
    path, _, query = request.path.partition("?")
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode("latin-1"),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in request.headers],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8080),
    }
    messages = list(_arriving(request.chunks))
    sent: list[Message] = []

    async def receive() -> Message:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    if not sent:
        return Reply(0, {}, None)
    headers = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
    body = b"".join(message.get("body", b"") for message in sent[1:])
    assert headers.pop("content-length", str(len(body))) == str(len(body))
    try:
        return Reply(sent[0]["status"], headers, json.loads(body))
    except ValueError:
        return Reply(sent[0]["status"], headers, body)


def _arriving(chunks: tuple[bytes, ...]) -> Iterator[Message]:
    for number, chunk in enumerate(chunks, 1):
        yield {"type": "http.request", "body": chunk, "more_body": number < len(chunks)}
