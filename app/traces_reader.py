"""The reader's spans: the first answer that carries a traced event.

Workers say which reports contain one (`Carried`). The newest word for each symbol is kept until an answer bears it out:
an offset and an epoch that are not older. An answer that went out before the word came is not that first one; the
word takes as long as any message of Redis, a millisecond or so.
"""

import asyncio
import logging
from contextlib import suppress
from typing import Any, Final

import msgspec
from opentelemetry.trace import SpanKind, Tracer

from app.stores.base import StoreUnavailableError
from app.traces import Carried, Listen
from app.traces_otel import context_of
from app.undecodable import UNDECODABLE

_log = logging.getLogger(__name__)

_MOST_KEPT: Final = 512
_PAUSE_SEC: Final = 1.0
_decode: Final = msgspec.json.Decoder(Carried).decode


class ReaderTraces:
    """Traces answers; `listen` gives the words of the workers."""

    def __init__(self, tracer: Tracer, listen: Listen) -> None:
        self._tracer = tracer
        self._listen = listen
        self._kept: dict[str, Carried] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to listen, on the running event loop."""
        self._task = asyncio.create_task(self._follow(), name="traces")

    async def close(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def answered(self, symbol: str, report: dict[str, Any], began_ns: int) -> None:
        """Note that `report` is the answer to a request that came at `began_ns`, in Unix nanoseconds."""
        carried = self._kept.get(symbol)
        if carried is None or not _contains(report, carried):
            return
        del self._kept[symbol]
        span = self._tracer.start_span(
            "answer",
            context_of(carried.traceparent),
            kind=SpanKind.SERVER,
            attributes={
                "context8.symbol": symbol,
                "context8.epoch": report["writer"]["writerToken"],
                "messaging.kafka.offset": report["provenance"]["offset"],
            },
            start_time=began_ns,
        )
        if (age_ms := report.get("data_age_ms")) is not None:
            span.set_attribute("context8.data_age_ms", age_ms)
        span.end()

    async def _follow(self) -> None:
        while True:
            try:
                async for message in self._listen():
                    self._keep(message)
            except StoreUnavailableError as error:
                _log.warning("no word of traces: %s", error)
            await asyncio.sleep(_PAUSE_SEC)

    def _keep(self, message: bytes) -> None:
        with suppress(*UNDECODABLE):  # anyone with rights to the channel may write anything
            carried = _decode(message)
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            self._kept[carried.symbol] = carried


def _contains(report: dict[str, Any], carried: Carried) -> bool:
    try:
        epoch, offset = report["writer"]["writerToken"], report["provenance"]["offset"]
    except (KeyError, TypeError):
        return False
    return bool(epoch >= carried.epoch and offset >= carried.offset)
