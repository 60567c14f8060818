"""Server-sent events: `GET /stream?symbols=` sends each report as it changes.

| event | data |
|---|---|
| `report` | the report or the part that was asked for, `id` its version |
| `absent` | `{"symbol": …}`: there is no report of this symbol (any more) |
| `unavailable` | `{"error": …}`: the store is away; reports follow when it is back |
| `refused` | `{"error": …}`: too many were opened in this moment; the stream ends |

Every symbol is sent at once, then whenever a worker wrote it. News may be lost and a dead worker writes none, so each
symbol is looked at once a second besides: that is how a report that went stale is sent as stale. A slow client misses
versions, never the newest one, and holds no memory: what is pending is a set of symbols, not of reports.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

import msgspec

from report_server.arguments import checked_symbols
from report_server.changes import Changes
from report_server.openings import Openings, TooManyStreamsError
from report_server.selection import selection
from report_server.service import Answer, Outcome, ReportService

_LOOK_SEC: Final = 1.0
_SIGN_OF_LIFE: Final = b": \n\n"
_RETRY: Final = b"retry: 1000\n\n"
_RETRY_LATER: Final = b"retry: 10000\n"


class ReportStreams:
    """Streams of reports from `service`, woken by `changes`."""

    def __init__(self, service: ReportService, changes: Changes, openings: Openings) -> None:
        self._service = service
        self._changes = changes
        self._openings = openings

    def open(
        self, symbols: object, detail: object = None, fields: object = None, client: str = ""
    ) -> AsyncIterator[bytes]:
        """Return the stream of these symbols for `client`, the holder of a token or an address.

        Raises:
            ValueError: the arguments are not what is allowed; one line says what is.
            TooManyStreamsError: this reader, or this client, has as many streams as it may.
        """
        wanted = checked_symbols(symbols)
        selection(detail, fields)
        self._openings.require(client)
        return self._events(wanted, detail, fields, client)

    async def _events(self, symbols: list[str], detail: object, fields: object, client: str) -> AsyncIterator[bytes]:
        wanted, pending, sent = set(symbols), set(symbols), dict[str, str]()
        wake, looked_at = asyncio.Event(), time.monotonic()

        def changed(symbol: str) -> None:
            pending.update((symbol,) if symbol else wanted)
            wake.set()

        try:
            self._openings.require(client)
        except TooManyStreamsError as error:  # others came in the same moment
            yield _RETRY_LATER + b"event: refused\ndata: %b\n\n" % msgspec.json.encode({"error": str(error)})
            return
        with self._openings.opened(client):
            unsubscribe = self._changes.subscribe(changed, symbols)
            try:
                yield _RETRY
                while True:
                    events = []
                    for symbol in [each for each in symbols if each in pending]:
                        pending.discard(symbol)
                        answer = await self._service.get_report(symbol, detail, fields)
                        version = answer.etag or answer.outcome.word
                        if sent.get(symbol) != version:
                            sent[symbol] = version
                            events.append(_event(symbol, answer))
                    yield b"".join(events) or _SIGN_OF_LIFE
                    if pause_sec := self._openings.pause_sec(len(events)):
                        await asyncio.sleep(pause_sec)
                    await _woken(wake)
                    if time.monotonic() - looked_at >= _LOOK_SEC:
                        pending |= wanted
                        looked_at = time.monotonic()
            finally:
                unsubscribe()


async def _woken(wake: asyncio.Event) -> None:
    """Wait for news, or until it is time to look."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_LOOK_SEC):
            await wake.wait()
    wake.clear()


def _event(symbol: str, answer: Answer) -> bytes:
    if answer.outcome is Outcome.ABSENT:
        return b'event: absent\ndata: {"symbol":"%b"}\n\n' % symbol.encode()
    # Line breaks in JSON are white space, and would end the data here.
    data = answer.body.replace(b"\r", b" ").replace(b"\n", b" ")
    if answer.error is not None:
        return b"event: unavailable\ndata: %b\n\n" % data
    return b"event: report\nid: %b\ndata: %b\n\n" % ((answer.etag or "").encode(), data)
