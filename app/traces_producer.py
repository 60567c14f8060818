"""The producer's spans: an event from its receipt to Kafka's acknowledgement.

The choice is made once a batch, and falls on its first event, which has waited longest. So tracing costs nothing for
any other event, on or off. Pauses between traces are drawn: fixed ones would always meet the same symbol where the
exchange sends in a fixed order.
"""

import random
import time
from collections.abc import Callable
from typing import Final

import msgspec
from opentelemetry.trace import SpanKind, Tracer, set_span_in_context

from app.microstructure import rfc3339
from app.traces import HEADER
from app.traces_otel import traceparent_of

Headers = list[tuple[str, bytes]]
_SPREAD: Final = (0.5, 1.5)


class _Event(msgspec.Struct):
    symbol: str
    type: str
    ts_event: str
    ts_init: str


_decode_event: Final = msgspec.json.Decoder(_Event).decode


class ProducerTraces:
    """Chooses at most about `per_sec` events a second of those that go to `topic`."""

    def __init__(
        self, tracer: Tracer, topic: str, per_sec: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._tracer = tracer
        self._topic = topic
        self._pause = 1 / per_sec
        self._monotonic = monotonic
        self._next_at = 0.0

    def begin(self, event: bytes) -> "Sending | None":
        """Return the trace of `event`, which is about to be sent, `None` if it is not its turn."""
        now = self._monotonic()
        if now < self._next_at:
            return None
        self._next_at = now + self._pause * random.uniform(*_SPREAD)
        return Sending(self._tracer, self._topic, _decode_event(event))


class Sending:
    """The trace of one event that is on its way to Kafka. One that is never acknowledged leaves no spans.

    Attributes:
        headers: what to send along with the event.
    """

    def __init__(self, tracer: Tracer, topic: str, event: _Event) -> None:
        now, received = time.time_ns(), rfc3339.parse(event.ts_init)
        self._root = tracer.start_span(
            "produce",
            attributes={
                "context8.symbol": event.symbol,
                "context8.event_type": event.type,
                "context8.exchange_lag_ms": (received - rfc3339.parse(event.ts_event)) / 1e6,
            },
            start_time=min(received, now),
        )
        self._publish = tracer.start_span(
            "publish",
            set_span_in_context(self._root),
            kind=SpanKind.PRODUCER,
            attributes={"messaging.system": "kafka", "messaging.destination.name": topic},
            start_time=now,
        )
        traceparent = traceparent_of(self._publish)  # '' where OTEL_SDK_DISABLED is set
        self.headers: Headers = [(HEADER, traceparent.encode())] if traceparent else []

    def acknowledged(self, partition: int, offset: int) -> None:
        """Note that the broker has the event, at this offset."""
        self._publish.set_attributes(
            {"messaging.destination.partition.id": str(partition), "messaging.kafka.offset": offset}
        )
        now = time.time_ns()
        self._publish.end(now)
        self._root.end(now)
