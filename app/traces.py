"""Traces of single market events, from the exchange's message to the answer that carries it; off unless a collector
is named (`OTEL_EXPORTER_OTLP_ENDPOINT`).

| process  | span      | parent    | from                           | to                                         |
|----------|-----------|-----------|--------------------------------|--------------------------------------------|
| producer | `produce` |           | the event was received         | Kafka has acknowledged it                  |
|          | `publish` | `produce` | its batch was made             | Kafka has acknowledged it                  |
| worker   | `process` | `publish` | its batch was taken            | the first report that contains it is in Redis |
|          | `apply`   | `process` | its batch was taken            | the engines have all of the batch          |
|          | `report`  | `process` | the cycle of that report began | the report is in Redis                     |
| reader   | `answer`  | `report`  | the first request for it came  | its answer was made                        |

The producer chooses the events, a few a second, and says so in a Kafka header (`traceparent`, as W3C has it) of these
events only. A report has no place for a trace, and a reader must not pay for one: so a worker tells the readers on a
Redis channel which report contains a traced event, and a reader that has traces on compares its answers with what it
was told.

While traces are off nothing that makes or sends spans is imported, and all that is left is one comparison with `None`
for each batch, cycle and answer. This module is the part that all roles import; the others need the packages of the
extra `traces`. Why so: docs/adr/0059-traces.md.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Final

import msgspec

from app.settings import Settings, SettingsError

if TYPE_CHECKING:
    from agents.owned import Owned
    from app.traces_producer import ProducerTraces
    from app.traces_reader import ReaderTraces
    from app.traces_worker import WorkerTraces

HEADER: Final = "traceparent"

Tell = Callable[[bytes], Awaitable[None]]
"""Sends a message to every reader that listens."""

Listen = Callable[[], AsyncIterator[bytes]]
"""Yields such messages; raises `StoreUnavailableError` when the subscription is lost."""


class Carried(msgspec.Struct, frozen=True):
    """What a worker tells readers: reports of `symbol` from this epoch and offset on contain a traced event."""

    symbol: str
    epoch: int
    offset: int
    traceparent: str


def require(config: Settings) -> None:
    """Make sure that traces can be made if they are wanted.

    Raises:
        SettingsError: the packages are missing.
    """
    if config.otel_exporter_otlp_endpoint is None:
        return
    try:
        import app.traces_otel  # noqa: F401
    except ImportError as error:
        raise SettingsError(
            f"OTEL_EXPORTER_OTLP_ENDPOINT={config.otel_exporter_otlp_endpoint} is not allowed: traces need packages "
            f"that are not installed, pip install 'context8[traces]' ({error})"
        ) from None


def for_producer(config: Settings) -> "ProducerTraces | None":
    """Return what traces events on their way to Kafka, `None` if traces are off."""
    if config.otel_exporter_otlp_endpoint is None:
        return None
    from app.traces_otel import tracer
    from app.traces_producer import ProducerTraces

    return ProducerTraces(tracer("producer", config), config.events_topic, config.traces_per_sec)


def for_worker(config: Settings, owned: "Owned", tell: Tell) -> "WorkerTraces | None":
    """Return what traces events from Kafka into a report, `None` if traces are off."""
    if config.otel_exporter_otlp_endpoint is None:
        return None
    from app.traces_otel import tracer
    from app.traces_worker import WorkerTraces

    return WorkerTraces(tracer("worker", config), owned, tell)


def for_reader(config: Settings, listen: Listen) -> "ReaderTraces | None":
    """Return what traces answers, `None` if traces are off."""
    if config.otel_exporter_otlp_endpoint is None:
        return None
    from app.traces_otel import tracer
    from app.traces_reader import ReaderTraces

    return ReaderTraces(tracer("reader", config), listen)
