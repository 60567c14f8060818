"""`resources/subscribe`, as protocol versions before 2026-07-28 have it, on a connection that lasts.

Since 2026-07-28 a client listens (`report_server.listening`), before that it subscribes: the server
remembers what to, and sends `notifications/resources/updated` by itself. That needs a connection which belongs to one
client, as stdio's does. Over HTTP each request stands alone here, so nothing is promised there: `initialize` says
`subscribe: false` (docs/adr/0049-subscriptions-of-old-protocols.md).

What is pending is a set of addresses, not of notifications: a client that reads slowly is told of each report once.
"""

import asyncio
from typing import Any, Final

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.session import ServerSession
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

from app.microstructure.events import SYMBOL_ALLOWED, is_symbol
from report_server.changes import Changes
from report_server.echo import shown
from report_server.resources import REPORT_URI

MOST_SUBSCRIBED: Final = 500  # as many as list_symbols names
_METHODS: Final = ("resources/subscribe", "resources/unsubscribe")


class LegacySubscriptions:
    """SDK middleware of a server with one connection."""

    def __init__(self, changes: Changes) -> None:
        self._wanted: set[str] = set()
        self._pending: set[str] = set()
        self._changed = asyncio.Event()
        self._changes = changes
        self._task: asyncio.Task[None] | None = None

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Answer what is about subscriptions, and pass on the rest."""
        if ctx.method == "initialize":
            return _with_subscribe(await call_next(ctx))
        if ctx.method not in _METHODS or ctx.protocol_version not in HANDSHAKE_PROTOCOL_VERSIONS:
            return await call_next(ctx)
        uri = _uri_of(ctx)
        if ctx.method == "resources/unsubscribe":
            self._wanted.discard(uri)
        elif len(self._wanted | {uri}) > MOST_SUBSCRIBED:
            raise MCPError(INVALID_PARAMS, f"more than {MOST_SUBSCRIBED} subscriptions: unsubscribe from some")
        else:
            self._wanted.add(uri)
            self._start(ctx.session)
        return {}

    def _start(self, session: ServerSession) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._tell(session))

    async def _tell(self, session: ServerSession) -> None:
        # It lasts as long as the connection does, which is as long as the process.
        unsubscribe = self._changes.subscribe(self._note)
        try:
            while await self._changed.wait():
                self._changed.clear()
                pending, self._pending = self._pending & self._wanted, set()
                for uri in sorted(pending):
                    await session.send_resource_updated(uri)
        finally:
            unsubscribe()

    def _note(self, symbol: str) -> None:
        # Without a symbol: news may have been lost, so each report may have changed.
        news = {REPORT_URI + symbol} & self._wanted if symbol else self._wanted
        if news:
            self._pending |= news
            self._changed.set()


def _uri_of(ctx: ServerRequestContext[Any, Any]) -> str:
    uri = (ctx.params or {}).get("uri")
    if not isinstance(uri, str) or not uri.startswith(REPORT_URI) or not is_symbol(uri.removeprefix(REPORT_URI)):
        raise MCPError(
            INVALID_PARAMS, f"invalid argument: uri {shown(uri)}; allowed: {REPORT_URI} and {SYMBOL_ALLOWED}"
        )
    return uri


def _with_subscribe(hello: HandlerResult) -> HandlerResult:
    """Return the answer to `initialize`, which says what this server can do, with subscriptions."""
    if isinstance(hello, dict) and isinstance(resources := hello.get("capabilities", {}).get("resources"), dict):
        resources["subscribe"] = True
    return hello
