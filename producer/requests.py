"""Requests to the exchange on a WebSocket and their answers, at a pace that it allows.

Binance closes a connection that gets more than five messages in a second, pings and pongs included.
"""

import asyncio
import itertools
import time
from typing import Any, Final

import msgspec
from nautilus_trader.core.nautilus_pyo3 import WebSocketClient

from app.undecodable import UNDECODABLE

_ids = itertools.count(1)


class _Reply(msgspec.Struct):
    """What is no message of a stream: an answer, or a message in an unusual spelling."""

    id: int | None = None
    error: msgspec.Raw = msgspec.Raw()  # msgspec reads no `Raw | None`
    stream: str | None = None


_decode_reply: Final = msgspec.json.Decoder(_Reply).decode


class Requests:
    """The requests of one connection; `pace` is the least number of seconds between two."""

    def __init__(self, pace: float) -> None:
        self._pace = pace
        self._next = 0.0
        self._answers: dict[int, asyncio.Future[None]] = {}

    @property
    def wait(self) -> float:
        """For how many seconds the next request would wait before it leaves."""
        return max(0.0, self._next - time.monotonic())

    async def ask(self, client: WebSocketClient, request: dict[str, Any]) -> None:
        """Send a request when it may leave, and wait for its answer.

        Raises:
            RuntimeError: it is refused.
            WebSocketClientError: the connection is gone.
        """
        request_id = next(_ids)
        answer = self._answers[request_id] = asyncio.get_running_loop().create_future()
        try:
            wait = self.wait
            self._next = time.monotonic() + wait + self._pace
            await asyncio.sleep(wait)
            await client.send_text(msgspec.json.encode(request | {"id": request_id}))
            await answer
        finally:
            del self._answers[request_id]

    def take(self, raw: bytes) -> bool:
        """Take what came; return whether it was an answer."""
        try:
            reply = _decode_reply(raw)
        except UNDECODABLE:
            return False
        if reply.stream is not None:
            return False
        answer = self._answers.get(reply.id or 0)
        if answer is not None and not answer.done():
            if bytes(reply.error):
                answer.set_exception(RuntimeError(f"request refused: {bytes(reply.error)!r:.200}"))
            else:
                answer.set_result(None)
        return True
