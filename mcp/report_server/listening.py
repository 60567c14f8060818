"""`subscriptions/listen`, as protocol versions since 2026-07-28 have it: the answer to the request is the stream.

The SDK serves it too, for any number of clients, each of which is asked about each change of each report, and may have
a thousand notifications waiting. Here a stream counts among all others (`report_server.openings`), is found by the
symbols that it wants, and what is pending is a set of symbols: a client that reads slowly is told of each report once.
One that does not read at all loses its connection (`report_server.protocol`).

What a client may listen to besides, changed lists of tools, prompts and resources, is accepted and never happens: these
change with a release of the reader only.
"""

import asyncio
from collections.abc import Collection, Mapping
from typing import Any, Final

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.subscriptions import ResourceUpdated
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import SUBSCRIPTION_ID_META_KEY, event_to_notification
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    SubscriptionFilter,
    SubscriptionsAcknowledgedNotification,
    SubscriptionsAcknowledgedNotificationParams,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from app.microstructure.events import is_symbol
from report_server.changes import Changes
from report_server.openings import Openings, TooManyStreamsError
from report_server.resources import REPORT_URI

METHOD: Final = "subscriptions/listen"
MOST_LISTENED: Final = 500  # as many as list_symbols names


class Listening:
    """SDK middleware that answers `subscriptions/listen` out of `changes`, and passes on the rest."""

    def __init__(self, changes: Changes, openings: Openings) -> None:
        self._changes = changes
        self._openings = openings

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Stream until the client goes."""
        if ctx.method != METHOD or ctx.request_id is None or ctx.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            return await call_next(ctx)
        honoured = _honoured(ctx.params)
        client = _client(ctx)
        try:
            self._openings.require(client)
        except TooManyStreamsError as error:
            raise MCPError(INTERNAL_ERROR, str(error)) from error
        symbols = {each for each in map(_symbol_of, honoured.resource_subscriptions or ()) if each is not None}
        with self._openings.opened(client):
            await self._stream(ctx, honoured, symbols)
        return SubscriptionsListenResult(_meta={SUBSCRIPTION_ID_META_KEY: ctx.request_id})

    async def _stream(
        self, ctx: ServerRequestContext[Any, Any], honoured: SubscriptionFilter, symbols: Collection[str]
    ) -> None:
        meta = {SUBSCRIPTION_ID_META_KEY: ctx.request_id}
        pending, wake = set[str](), asyncio.Event()

        def changed(symbol: str) -> None:
            # Without a symbol: news may have been lost, so each report may have changed.
            pending.update((symbol,) if symbol else symbols)
            wake.set()

        unsubscribe = self._changes.subscribe(changed, symbols)
        try:
            acknowledged = SubscriptionsAcknowledgedNotificationParams(notifications=honoured, _meta=meta)
            await ctx.session.send_notification(
                SubscriptionsAcknowledgedNotification(params=acknowledged), related_request_id=ctx.request_id
            )
            while await wake.wait():
                wake.clear()
                told = sorted(pending)
                pending.clear()
                for symbol in told:
                    notification = event_to_notification(ResourceUpdated(REPORT_URI + symbol), meta)
                    await ctx.session.send_notification(notification, related_request_id=ctx.request_id)
                if pause_sec := self._openings.pause_sec(len(told)):
                    await asyncio.sleep(pause_sec)
        finally:
            unsubscribe()


def _honoured(params: Mapping[str, Any] | None) -> SubscriptionFilter:
    """Return what the client is told that it listens to: all that it asked for, also what never changes."""
    try:
        asked = SubscriptionsListenRequestParams.model_validate(params or {}).notifications
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise MCPError(INVALID_PARAMS, f"invalid argument: {where}: {first['msg']}") from None
    uris = list(dict.fromkeys(asked.resource_subscriptions or ()))
    if len(uris) > MOST_LISTENED:
        raise MCPError(INVALID_PARAMS, f"invalid argument: {len(uris)} resources; allowed: {MOST_LISTENED} at most")
    return SubscriptionFilter(
        tools_list_changed=asked.tools_list_changed or None,
        prompts_list_changed=asked.prompts_list_changed or None,
        resources_list_changed=asked.resources_list_changed or None,
        resource_subscriptions=uris or None,
    )


def _symbol_of(uri: str) -> str | None:
    """Return whose report is at `uri`, `None` if none can be."""
    symbol = uri.removeprefix(REPORT_URI)
    return symbol if uri.startswith(REPORT_URI) and is_symbol(symbol) else None


def _client(ctx: ServerRequestContext[Any, Any]) -> str:
    """Return the holder of the token, or the address, that the request came from; '' over stdio."""
    state = getattr(ctx.request, "state", None)
    return str(getattr(state, "client", ""))
