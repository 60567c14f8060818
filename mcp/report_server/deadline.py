"""The limit for every answer, enforced around the whole of the work and not only around the store's part of it.

`CallLimit` sits inside the SDK, on both transports, and ends a call with a JSON-RPC error that has the call's id.
`RequestLimit` sits around the HTTP app, for what the SDK does before and after that, and for plain HTTP. Both leave
streams alone: these are meant to last; and the files of the board, which are large for a slow line. The store itself
gets a shorter limit, whose failure is the clearest answer.
"""

import asyncio
from typing import Any, Final

import msgspec
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.undecodable import UNDECODABLE
from report_server import board
from report_server.answers import JSON_TYPE, NOT_STORED, send_response
from report_server.security import MAX_BODY_BYTES

_STREAMS: Final = frozenset(("/stream",))
_LISTEN: Final = "subscriptions/listen"
# A client that sends its request this slowly is not waited for: it holds memory.
UPLOAD_SEC: Final = 5.0


def too_late(limit_sec: float) -> str:
    """Return what a caller is told."""
    return f"no answer within {limit_sec * 1000:.0f} ms; try again"


class CallLimit:
    """SDK middleware: ends a call after `limit_sec`."""

    def __init__(self, limit_sec: float) -> None:
        self._limit_sec = limit_sec

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Run the call within the limit; a stream of changes has none."""
        if ctx.method == _LISTEN:
            return await call_next(ctx)
        try:
            async with asyncio.timeout(self._limit_sec):
                return await call_next(ctx)
        except TimeoutError:
            raise MCPError(INTERNAL_ERROR, too_late(self._limit_sec)) from None


class RequestLimit:
    """ASGI layer: ends a request that has no answer `limit_sec` after it arrived in full.

    Bodies are gathered here first, so that the limit does not count a slow line of the client, and a client that goes
    away half-way costs nothing more. How long a body may be is left to the SDK: it is given one byte too many at most.
    """

    def __init__(self, app: ASGIApp, limit_sec: float) -> None:
        self._app = app
        self._limit_sec = limit_sec

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, with a limit unless it asks for a stream."""
        if scope["type"] != "http" or scope["path"] in _STREAMS or scope["path"].startswith(board.PREFIX):
            return await self._app(scope, receive, send)
        body: bytes | None = b""
        if scope["method"] == "POST":
            try:
                async with asyncio.timeout(UPLOAD_SEC):
                    body = await _gathered(receive)
            except TimeoutError:
                return await _send_error(send, 408, {"error": "the request did not arrive in time"})
        if body is None:
            return None
        arrived = _replayed(body, receive)
        if _header(scope, b"mcp-method") == _LISTEN:
            return await self._app(scope, arrived, send)
        return await self._within_limit(scope, body, arrived, send)

    async def _within_limit(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        started = False

        async def watched_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            async with asyncio.timeout(self._limit_sec):
                await self._app(scope, receive, watched_send)
        except TimeoutError:
            if started:
                raise
            await _send_late(send, scope["path"], body, too_late(self._limit_sec))


async def _gathered(receive: Receive) -> bytes | None:
    """Return the body, cut off beyond what is allowed, or `None` if the client went away."""
    chunks: list[bytes] = []
    length = 0
    while length <= MAX_BODY_BYTES:
        message = await receive()
        if message["type"] != "http.request":
            return None
        chunks.append(message.get("body", b""))
        length += len(chunks[-1])
        if not message.get("more_body", False):
            break
    return b"".join(chunks)[: MAX_BODY_BYTES + 1]


def _replayed(body: bytes, receive: Receive) -> Receive:
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def _send_late(send: Send, path: str, body: bytes, why: str) -> None:
    answer: dict[str, Any] = {"error": why}
    if path == "/mcp":
        answer = {"jsonrpc": "2.0", "id": _id_of(body), "error": {"code": INTERNAL_ERROR, "message": why}}
    # 200 where the JSON-RPC error has an id: a client takes it as the answer to that call.
    await _send_error(send, 200 if answer.get("id") is not None else 503, answer)


async def _send_error(send: Send, status: int, answer: dict[str, Any]) -> None:
    await send_response(send, status, [JSON_TYPE, NOT_STORED], msgspec.json.encode(answer))


class _Identified(msgspec.Struct):
    id: int | str | None = None


def _id_of(body: bytes) -> int | str | None:
    try:
        return msgspec.json.decode(body, type=_Identified).id
    except UNDECODABLE:
        return None


def _header(scope: Scope, name: bytes) -> str | None:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), None)
