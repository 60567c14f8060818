"""Answers the hot requests before the SDK sees them: calls of the tools, reads of reports, `GET /get_report?symbol=`.

The SDK spends about 2 ms on a call, most of it in validation, task groups and streams. A call that is well-formed in
every respect needs none of that: its answer is the stored bytes inside a fixed frame. So this layer takes such calls,
and hands everything else, whatever is unusual about it, to the SDK's app untouched: other headers, batches, anything
malformed. It never decides that something is wrong. What the SDK always answers alike is kept (`kept_answers`).

`tests/report_server/test_fast_path.py` holds it to the SDK's own answers over thousands of mutated requests. What makes
a request acceptable is therefore written down narrowly here, and a doubt goes to the SDK.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from mcp_types import Implementation
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.microstructure.events import is_symbol
from report_server.answers import JSON_TYPE, http_response, send_response
from report_server.calls import (
    Call,
    CallReader,
    MetricArguments,
    Params,
    ReadParams,
    ReportArguments,
    ReportsArguments,
    arguments_of,
    envelope_of,
)
from report_server.deadline import UPLOAD_SEC
from report_server.frames import Frames
from report_server.kept_answers import STEADY, KeptAnswers
from report_server.metrics import ReaderMetrics
from report_server.resources import REPORT_URI, SCHEMA_URI
from report_server.security import HostGate
from report_server.service import Answer, ReportService

# A call of get_report takes some hundred bytes; what is longer is unusual.
_MOST_BODY: Final = 4096

_LEGACY: Final = frozenset(version.encode() for version in HANDSHAKE_PROTOCOL_VERSIONS)
_MODERN: Final = frozenset(version.encode() for version in MODERN_PROTOCOL_VERSIONS)
_JSON: Final = frozenset((b"application/json", b"application/json; charset=utf-8"))
_ACCEPTED: Final = frozenset(
    (
        b"application/json, text/event-stream",
        b"application/json,text/event-stream",
        b"text/event-stream, application/json",
        b"application/json",
        b"*/*",
    )
)
# Each may come once; anything that a proxy or a browser would add is looked at by the SDK.
_HEADERS: Final = frozenset(
    (
        *(b"host", b"content-type", b"content-length", b"accept", b"if-none-match"),
        *(b"mcp-protocol-version", b"mcp-method", b"mcp-name"),
    )
)
_UNUSUAL: Final = (b"origin", b"content-encoding")
_METHODS: Final = frozenset(name.encode() for name in (*STEADY, "tools/call", "resources/read"))
_SYMBOL_QUERY: Final = b"symbol="


class FastPath:
    """ASGI layer in front of `app`; `server_info` is what the SDK stamps on its answers since 2026-07-28."""

    def __init__(
        self, app: ASGIApp, service: ReportService, metrics: ReaderMetrics, gate: HostGate, server_info: Implementation
    ) -> None:
        self._app = app
        self._service = service
        self._metrics = metrics
        self._gate = gate
        self._frames = Frames(server_info)
        self._calls = CallReader()
        self._kept = KeptAnswers()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request or pass it on."""
        if scope["type"] == "http":
            if scope["path"] == "/mcp" and scope["method"] == "POST":
                return await self._post(scope, receive, send)
            if scope["path"] == "/get_report" and scope["method"] == "GET" and await self._get(scope, send):
                return None
        return await self._app(scope, receive, send)

    async def _get(self, scope: Scope, send: Send) -> bool:
        query: bytes = scope["query_string"]
        symbol = query[len(_SYMBOL_QUERY) :].decode("latin-1")
        if not query.startswith(_SYMBOL_QUERY) or not is_symbol(symbol):
            return False
        headers = _single(scope)
        if headers is None or not await self._gate.accepts(scope, headers.get(b"host")):
            return False
        answer = await self._metrics.timed("GET", self._service.get_report(symbol))
        known = headers.get(b"if-none-match")
        await send_response(send, *http_response(answer, known.decode("latin-1") if known is not None else None))
        return True

    async def _post(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = _single(scope)
        modern = _era(headers) if headers is not None else None
        if headers is None or modern is None or not await self._gate.accepts(scope, headers.get(b"host")):
            return await self._app(scope, receive, send)
        messages: list[Message] = []
        body = await _read_body(receive, messages)
        ask = partial(self._app, scope, _replay(messages, receive))
        envelope = envelope_of(body) if body is not None else None
        call = self._calls.read(envelope, modern) if envelope is not None else None
        if envelope is not None and (envelope.method in STEADY or _is_schema(call)):
            return await self._kept.answer(envelope, headers, ask, send)
        framed = None
        if call is not None and (not modern or _repeated(headers, call)):
            framed = await self._framed(call, modern)
        if framed is None:
            return await ask(send)
        status, content = framed
        return await send_response(send, status, [JSON_TYPE], content)

    async def _framed(self, call: Call, modern: bool) -> tuple[int, bytes] | None:
        """Return status and body, `None` if there is anything unusual about what the call asks for."""
        if isinstance(call.params, ReadParams):
            symbol = call.params.uri.removeprefix(REPORT_URI)
            if symbol == call.params.uri or not is_symbol(symbol):
                return None
            answer = await self._metrics.timed("resources/read", self._service.get_report(symbol))
            return self._frames.contents(call.id, call.params.uri, answer, modern)
        answering = self._answering(call.params)
        if answering is None:
            return None
        return self._frames.tool_result(call.id, await self._metrics.timed("tools/call", answering()), modern)

    def _answering(self, params: Params) -> Callable[[], Awaitable[Answer]] | None:
        """Return what answers the call, `None` if there is anything unusual about its arguments."""
        given, service = arguments_of(params), self._service
        if isinstance(given, ReportArguments):
            if not _is_text(given.symbol) or not _is_text(given.detail):
                return None
            return partial(service.get_report, given.symbol, given.detail, given.fields)
        if isinstance(given, ReportsArguments):
            return (
                partial(service.get_reports, given.symbols, given.detail, given.fields)
                if _is_text(given.detail)
                else None
            )
        if isinstance(given, MetricArguments):
            return partial(service.explain_metric, given.name) if _is_text(given.name) else None
        return service.list_symbols if given is not None else None


def _single(scope: Scope) -> dict[bytes, bytes] | None:
    """Return the headers that matter, `None` if one of them comes twice or there is one that the SDK must see."""
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in _HEADERS:
            if name in found:
                return None
            found[name] = value
        elif name in _UNUSUAL or name.startswith(b"mcp-param-"):
            return None
    return found


def _era(headers: dict[bytes, bytes]) -> bool | None:
    """Return whether the headers are those of a modern call, `None` if they are no usual call's at all."""
    if headers.get(b"content-type") not in _JSON or headers.get(b"accept") not in _ACCEPTED:
        return None
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or int(length) > _MOST_BODY:
        return None
    version = headers.get(b"mcp-protocol-version")
    if version is None or version in _LEGACY:
        return False
    return True if version in _MODERN and headers.get(b"mcp-method") in _METHODS else None


def _is_text(argument: str | None) -> bool:
    """Return whether the SDK leaves an argument as it is: what it can read as JSON, other than a number, it decodes."""
    bare = argument.strip(" \t\r\n") if argument is not None else ""
    return not bare.startswith(("[", "{")) and bare not in ("true", "false", "null")


def _is_schema(call: Call | None) -> bool:
    return call is not None and isinstance(call.params, ReadParams) and call.params.uri == SCHEMA_URI


def _repeated(headers: dict[bytes, bytes], call: Call) -> bool:
    """Return whether the headers say of the call what protocol 2026-07-28 wants them to."""
    return headers.get(b"mcp-method") == call.method.encode() and headers.get(b"mcp-name") == call.name.encode()


async def _read_body(receive: Receive, messages: list[Message]) -> bytes | None:
    """Return the body, `None` if it is long or late or the client has gone; `messages` gets what came."""
    length = 0
    try:
        async with asyncio.timeout(UPLOAD_SEC):
            while True:
                message = await receive()
                messages.append(message)
                if message["type"] != "http.request":
                    return None
                length += len(message.get("body", b""))
                if length > _MOST_BODY:
                    return None
                if not message.get("more_body", False):
                    return b"".join(each.get("body", b"") for each in messages)
    except TimeoutError:
        return None


def _replay(messages: list[Message], receive: Receive) -> Receive:
    async def replay() -> Message:
        return messages.pop(0) if messages else await receive()

    return replay
