"""JSON-RPC around an `Answer`, byte by byte: what the SDK would send for the same answer.

Callers of the same moment get the same answer (`service`), and so the same frame around it: only their ids differ.
"""

from collections.abc import Callable
from typing import Final

import msgspec
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS, Implementation

from report_server.resources import REPORT_URI
from report_server.service import Answer, Outcome

_MOST_KEPT: Final = 256
_encode: Final = msgspec.json.Encoder().encode


class Frames:
    """Puts answers into frames; `server_info` is what the SDK stamps on its results since 2026-07-28."""

    def __init__(self, server_info: Implementation) -> None:
        stamp = server_info.model_dump_json(by_alias=True, exclude_none=True).encode()
        self._modern_end = b',"resultType":"complete","_meta":{"io.modelcontextprotocol/serverInfo":' + stamp + b"}}}"
        self._tool_results: dict[str, tuple[Answer, bytes]] = {}
        self._contents: dict[str, tuple[Answer, bytes]] = {}

    def tool_result(self, call_id: int | str, answer: Answer, modern: bool) -> tuple[int, bytes]:
        """Return status and body for a call of a tool."""
        if answer.error is not None:
            members = b'"content":[{"type":"text","text":%b}],"isError":true' % _encode(answer.error)
        else:
            members = _kept(self._tool_results, answer, _tool_members)
        return 200, _framed(call_id, members, self._modern_end if modern else b"}}")

    def contents(self, call_id: int | str, uri: str, answer: Answer, modern: bool) -> tuple[int, bytes]:
        """Return status and body for a read of the report at `uri`."""
        if answer.outcome is not Outcome.FOUND:
            return _error(call_id, uri, answer, modern)
        # What it is fit for is the SDK's own default: to be asked for anew each time.
        end = b',"cacheScope":"private","ttlMs":0' + self._modern_end if modern else b"}}"
        return 200, _framed(call_id, _kept(self._contents, answer, _contents_members), end)


def _framed(call_id: int | str, members: bytes, end: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":' + _encode(call_id) + b',"result":{' + members + end


def _error(call_id: int | str, uri: str, answer: Answer, modern: bool) -> tuple[int, bytes]:
    absent = answer.outcome is Outcome.ABSENT
    error = {
        "code": INVALID_PARAMS if absent else INTERNAL_ERROR,
        "message": f"no report of {answer.symbol}" if absent else answer.error,
        "data": {"uri": uri},
    }
    status = 400 if modern and absent else 200
    return status, _encode({"jsonrpc": "2.0", "id": call_id, "error": error})


def _kept(frames: dict[str, tuple[Answer, bytes]], answer: Answer, make: Callable[[Answer], bytes]) -> bytes:
    symbol = answer.symbol or ""
    kept = frames.get(symbol)
    if kept is not None and kept[0] is answer:
        return kept[1]
    members = make(answer)
    if len(frames) >= _MOST_KEPT:
        frames.clear()
    frames[symbol] = (answer, members)
    return members


def _tool_members(answer: Answer) -> bytes:
    structured = answer.body if answer.content else b"{}"
    text = _encode(answer.body.decode())
    return b'"content":[{"type":"text","text":%b}],"isError":false,"structuredContent":%b' % (text, structured)


def _contents_members(answer: Answer) -> bytes:
    uri = _encode(f"{REPORT_URI}{answer.symbol}")
    return b'"contents":[{"uri":%b,"mimeType":"application/json","text":%b}]' % (uri, _encode(answer.body.decode()))
