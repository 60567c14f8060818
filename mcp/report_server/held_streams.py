"""Streams that are open by virtue of a token, closed once that is taken out of the file.

A request is let in once, a stream then runs for hours. So whose token is gone loses what is open too: its request is
cancelled, within a second.
"""

import asyncio
from typing import Final, cast

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from report_server.tokens import Tokens

_LOOK_SEC: Final = 1.0


class HeldStreams:
    """Runs requests of holders of `tokens`, and cancels those that stream when their token has gone."""

    def __init__(self, app: ASGIApp, tokens: Tokens, look_sec: float = _LOOK_SEC) -> None:
        self._app = app
        self._tokens = tokens
        self._look_sec = look_sec
        self._open: dict[asyncio.Task[None], bytes | None] = {}
        self._revoked: set[asyncio.Task[None]] = set()
        self._watching: asyncio.Task[None] | None = None

    async def run(self, scope: Scope, receive: Receive, send: Send, authorization: bytes | None) -> None:
        """Let the app answer; `authorization` is the header that let the request in."""
        task = cast("asyncio.Task[None]", asyncio.current_task())

        async def noting(message: Message) -> None:
            await send(message)
            if message.get("more_body") and task not in self._open:
                self._open[task] = authorization
                if self._watching is None or self._watching.done():
                    self._watching = asyncio.create_task(self._watch(), name="tokens of open streams")

        try:
            await self._app(scope, receive, noting)
        except asyncio.CancelledError:
            if task not in self._revoked:
                raise
            task.uncancel()
            await send({"type": "http.response.body"})
        finally:
            self._open.pop(task, None)
            self._revoked.discard(task)

    async def _watch(self) -> None:
        while self._open:
            await asyncio.sleep(self._look_sec)
            for task, authorization in list(self._open.items()):
                if self._tokens.holder(authorization) is None and task not in self._revoked:
                    self._revoked.add(task)
                    task.cancel()
