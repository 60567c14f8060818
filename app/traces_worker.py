"""The worker's spans: a traced event from Kafka into the engine, and on into the first report that contains it.

`Intake` asks `found` before a batch and tells `applied` after it; `Reports` asks `carried` when its reports are made
and tells `reported` when they are written. What waits for its report is bounded: whoever can write to the topic can
write headers, too.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context

from agents.owned import Owned
from app.batches import Record
from app.stores.base import Publication, StoreUnavailableError
from app.traces import HEADER, Carried, Tell
from app.traces_otel import context_of, traceparent_of

_MOST_WAITING: Final = 64

_log = logging.getLogger(__name__)


class Found(NamedTuple):
    """A traced event in a batch that is about to be applied."""

    record: Record
    symbol: str
    parent: Context
    began_ns: int


class Applied(NamedTuple):
    """A traced event that an engine has, and that no report contains yet."""

    symbol: str
    offset: int
    span: Span


class Reporting(NamedTuple):
    """Reports on their way to Redis that are the first to contain a traced event."""

    began_ns: int
    events: list[tuple[Applied, int]]


class WorkerTraces:
    """Traces events of `owned`; `tell` reaches the readers."""

    def __init__(self, tracer: Tracer, owned: Owned, tell: Tell) -> None:
        self._tracer = tracer
        self._owned = owned
        self._tell = tell
        self._waiting: list[Applied] = []
        self._telling: set[asyncio.Task[None]] = set()

    def found(self, records: Iterable[Record]) -> Found | None:
        """Return the first traced event among `records`, unless its engine has it already."""
        for record in records:
            if record.headers:
                parent = _parent(record)
                if parent is not None:
                    symbol = (record.key or b"").decode("latin-1")
                    return None if self._knows(symbol, record.offset) else Found(record, symbol, parent, time.time_ns())
        return None

    def applied(self, found: Found) -> None:
        """Note that the batch is done; an event that went aside instead ends its trace here."""
        record, now = found.record, time.time_ns()
        span = self._tracer.start_span(
            "process",
            found.parent,
            kind=SpanKind.CONSUMER,
            attributes={
                "messaging.system": "kafka",
                "messaging.destination.name": record.topic,
                "messaging.destination.partition.id": str(record.partition),
                "messaging.kafka.offset": record.offset,
                "context8.waited_in_kafka_ms": max(0.0, found.began_ns / 1e6 - record.timestamp),
            },
            start_time=found.began_ns,
        )
        self._tracer.start_span("apply", set_span_in_context(span), start_time=found.began_ns).end(now)
        if not self._knows(found.symbol, record.offset):
            span.set_status(Status(StatusCode.ERROR, "no engine took it"))
            span.end(now)
            return
        span.set_attribute("context8.symbol", found.symbol)
        self._waiting.append(Applied(found.symbol, record.offset, span))
        while len(self._waiting) > _MOST_WAITING:
            _given_up(self._waiting.pop(0), "no report contains it yet")

    def carried(self, publications: Iterable[Publication], began_ns: int) -> Reporting | None:
        """Return which of these reports, made just now in a cycle that began then, contain a traced event."""
        if not self._waiting:
            return None
        epochs = {publication.symbol: publication.epoch for publication in publications}
        events = [(each, epochs[each.symbol]) for each in self._waiting if each.symbol in epochs]
        return Reporting(began_ns, events) if events else None

    def reported(self, reporting: Reporting, publications: Sequence[Publication], written: Sequence[bool]) -> None:
        """Note which of the reports Redis has taken; where it was away none of this is called, and they wait on."""
        now, taken = time.time_ns(), {each.symbol for each, ok in zip(publications, written, strict=True) if ok}
        for event, epoch in reporting.events:
            if event not in self._waiting:
                continue
            self._waiting.remove(event)
            if event.symbol not in taken:
                _given_up(event, "refused: a newer writer exists")
                continue
            span = self._tracer.start_span(
                "report",
                set_span_in_context(event.span),
                attributes={"context8.symbol": event.symbol, "context8.epoch": epoch},
                start_time=reporting.began_ns,
            )
            span.end(now)
            event.span.end(now)
            self._say(Carried(event.symbol, epoch, event.offset, traceparent_of(span)))

    def _knows(self, symbol: str, offset: int) -> bool:
        owned = self._owned.symbols.get(symbol)
        return owned is not None and owned.engine.offset >= offset

    def _say(self, carried: Carried) -> None:
        # Beside the cycle: no report waits for a trace.
        task = asyncio.ensure_future(self._told(msgspec.json.encode(carried)))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _told(self, message: bytes) -> None:
        try:
            await self._tell(message)
        except StoreUnavailableError as error:
            _log.warning("readers were not told of a trace: %s", error)


def _parent(record: Record) -> Context | None:
    for name, value in record.headers:
        if name == HEADER and value is not None:
            return context_of(value.decode("latin-1"))
    return None


def _given_up(event: Applied, why: str) -> None:
    event.span.set_status(Status(StatusCode.ERROR, why))
    event.span.end()
