import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from starlette.types import Message, Receive, Scope, Send

from report_server.deadline import RequestLimit
from report_server.metrics import ReaderMetrics
from report_server.security import MAX_BODY_BYTES
from report_server.server import build_server
from report_server.service import ReportService


async def hanging(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await asyncio.Event().wait()


async def echoing(scope: Scope, receive: Receive, send: Send) -> None:
    message = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": message["body"]})


async def asked(app: Any, scope: dict[str, Any], *chunks: Message) -> list[Message]:
    sent: list[Message] = []
    messages = list(chunks)

    async def receive() -> Message:
        if messages:
            return messages.pop(0)
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    async with asyncio.timeout(10):
        await app({"type": "http", "headers": [], **scope}, receive, send)
    return sent


def chunk(body: bytes, more: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


async def test_a_call_that_takes_too_long_is_answered_with_its_id() -> None:
    call = json.dumps({"jsonrpc": "2.0", "id": "abc", "method": "x", "params": {}}).encode()

    start, body = await asked(RequestLimit(hanging, 0.02), {"method": "POST", "path": "/mcp"}, chunk(call))

    assert start["status"] == 200
    answer = json.loads(body["body"])
    assert answer["id"] == "abc"
    assert answer["error"]["message"] == "no answer within 20 ms; try again"


@pytest.mark.parametrize("call", [b"", b"[]", b"{", b'{"id":null}', b'{"id":1.5}', b"\xff"])
async def test_what_has_no_id_is_answered_with_a_status(call: bytes) -> None:
    start, body = await asked(RequestLimit(hanging, 0.02), {"method": "POST", "path": "/mcp"}, chunk(call))

    assert start["status"] == 503
    assert json.loads(body["body"])["id"] is None


async def test_plain_http_has_the_same_limit() -> None:
    start, body = await asked(RequestLimit(hanging, 0.02), {"method": "GET", "path": "/symbols"}, chunk(b""))

    assert (start["status"], json.loads(body["body"])) == (503, {"error": "no answer within 20 ms; try again"})


async def test_a_slow_line_of_the_client_is_not_the_readers_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("report_server.deadline.UPLOAD_SEC", 0.05)

    start, body = await asked(RequestLimit(echoing, 5), {"method": "POST", "path": "/mcp"}, chunk(b"{", more=True))

    assert (start["status"], json.loads(body["body"])) == (408, {"error": "the request did not arrive in time"})


async def test_a_client_that_goes_away_half_way_is_not_answered() -> None:
    limited = RequestLimit(echoing, 5)

    sent = await asked(limited, {"method": "POST", "path": "/mcp"}, chunk(b"{", more=True), {"type": "http.disconnect"})

    assert sent == []


async def test_the_parts_of_a_body_are_one_and_a_long_one_is_cut_where_it_is_refused() -> None:
    limited = RequestLimit(echoing, 5)
    post = {"method": "POST", "path": "/mcp"}

    whole = await asked(limited, post, chunk(b"ab", more=True), chunk(b"", more=True), chunk(b"c"))
    endless = [chunk(b"x" * 50_000, more=True)] * 1000
    cut = await asked(limited, post, *endless)

    assert whole[1]["body"] == b"abc"
    assert len(cut[1]["body"]) == MAX_BODY_BYTES + 1


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_over_every_transport_a_call_ends_within_the_limit(
    mode: str, monkeypatch: pytest.MonkeyPatch, memory_store: Any
) -> None:
    service = ReportService(memory_store, 0.05, 600_000)

    async def never(symbols: Sequence[str]) -> None:
        await asyncio.Event().wait()

    async with asyncio.timeout(10), Client(build_server(service, ReaderMetrics()), mode=mode) as client:
        monkeypatch.setattr(service, "list_symbols", lambda: never([]))
        with pytest.raises(MCPError, match="no answer within 50 ms"):
            await client.call_tool("list_symbols", {})
