"""What the SDK answered to the same words before, it answers again: handshakes, lists and prompts, told from memory.

The answers to these methods depend on nothing but the request: not on the store, the time or who asks. So the SDK is
asked once for each wording, and its result is repeated under the next caller's id. Clients of one make send the same
words, so a hundred agents that start together cost one of them. No decision is taken here: the key is everything that
the SDK looks at, and only what it answered with a result is kept.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from starlette.types import Message, Send

from app.undecodable import UNDECODABLE
from report_server.answers import JSON_TYPE, send_response
from report_server.calls import Envelope

STEADY: Final = frozenset(
    (
        *("initialize", "notifications/initialized", "ping", "server/discover"),
        *("tools/list", "resources/list", "resources/templates/list", "prompts/list", "prompts/get"),
    )
)
# Answers of up to 10 KB: that of tools/list is the longest.
_MOST_KEPT: Final = 128
_WORDS_HEADERS: Final = (b"mcp-protocol-version", b"mcp-method", b"mcp-name")
_PLAIN_HEADERS: Final = frozenset((b"content-type", b"content-length"))

Words = tuple[bytes | str | None, ...]
"""All that the SDK's answer depends on."""

_encode: Final = msgspec.json.Encoder().encode


class _Result(msgspec.Struct, forbid_unknown_fields=True):
    jsonrpc: str
    id: int | str
    result: msgspec.Raw


_decode_result = msgspec.json.Decoder(_Result).decode


class _Kept(msgspec.Struct, frozen=True):
    """A result, `None` for a notification that was taken, and whether a type came with it."""

    result: bytes | None
    typed: bool


class KeptAnswers:
    """Answers by the words of the request."""

    def __init__(self) -> None:
        self._kept: dict[Words, _Kept] = {}
        self._asking: dict[Words, asyncio.Event] = {}

    async def answer(
        self, call: Envelope, headers: dict[bytes, bytes], ask: Callable[[Send], Awaitable[None]], send: Send
    ) -> None:
        """Answer `call`, whose method is one of `STEADY`; `ask` lets the SDK do it."""
        words: Words = (call.method, bytes(call.params), *map(headers.get, _WORDS_HEADERS))
        # Where somebody asks the same already, wait for that; where it came to nothing, each asks for itself.
        if words not in self._kept and (asked := self._asking.get(words)) is not None:
            await asked.wait()
        if (kept := self._kept.get(words)) is not None:
            return await _repeat(call, kept, send)
        asked = self._asking.setdefault(words, asyncio.Event())
        sent: list[Message] = []

        async def overheard(message: Message) -> None:
            sent.append(message)
            await send(message)

        try:
            await ask(overheard)
            self._keep(words, call, sent)
        finally:
            self._asking.pop(words, None)
            asked.set()

    def __len__(self) -> int:
        return len(self._kept)

    def _keep(self, words: Words, call: Envelope, sent: list[Message]) -> None:
        found = _kept(call, sent)
        if found is None:
            return
        if len(self._kept) >= _MOST_KEPT:
            self._kept.clear()
        self._kept[words] = found


def _kept(call: Envelope, sent: list[Message]) -> _Kept | None:
    """Return what can be said again, `None` where the answer is no plain result."""
    headers = dict(sent[0]["headers"]) if sent else {}
    if not sent or not headers.keys() <= _PLAIN_HEADERS:
        return None
    body, typed = b"".join(message.get("body", b"") for message in sent[1:]), b"content-type" in headers
    if call.id is msgspec.UNSET:
        return _Kept(None, typed) if (sent[0]["status"], body) == (202, b"") else None
    try:
        return _Kept(bytes(_decode_result(body).result), typed) if sent[0]["status"] == 200 else None
    except UNDECODABLE:
        return None


async def _repeat(call: Envelope, kept: _Kept, send: Send) -> None:
    status, body = 202, b""
    if kept.result is not None:
        status, body = 200, b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (_encode(call.id), kept.result)
    await send_response(send, status, [JSON_TYPE] if kept.typed else [], body)
