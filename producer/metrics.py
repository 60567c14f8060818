"""What the producer counts, for Prometheus; every name is listed here once."""

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector

from producer.wire import Kind

_PREFIX: Final = "context8_producer_"


class Metrics:
    """Counters and gauges of one producer. Symbols are checked before they become label values."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._events = self._counter("events_total", "Events handed over for publishing", "symbol", "type")
        self._dropped = self._counter("dropped_total", "Events dropped for want of room", "symbol", "type")
        self._resyncs = self._counter("resyncs_total", "Books given up and fetched anew", "symbol", "reason")
        self._snapshot_failures = self._counter(
            "snapshot_failures_total", "Depth snapshots that could not be fetched", "symbol"
        )
        self._published = self._counter("published_total", "Events acknowledged by Kafka")
        self._sessions = self._counter("kafka_sessions_total", "Connections to Kafka begun")
        self._errors = Counter(
            "context8_errors_total", "Errors by component", ["component", "type"], registry=self.registry
        )
        self._event_counters: dict[tuple[str, Kind], Counter] = {}
        self._resync_counts: dict[str, int] = {}

    def event(self, symbol: str, kind: Kind) -> None:
        """Count an event; `labels` is looked up only once for each symbol and kind."""
        counter = self._event_counters.get((symbol, kind))
        if counter is None:
            counter = self._events.labels(symbol, kind.event_type)
            self._event_counters[symbol, kind] = counter
        counter.inc()

    def dropped(self, symbol: str, kind: Kind) -> None:
        """Count an event that found no room."""
        self._dropped.labels(symbol, kind.event_type).inc()

    def resync(self, symbol: str, reason: str) -> None:
        """Count a book that was given up."""
        self._resync_counts[symbol] = self.resyncs(symbol) + 1
        self._resyncs.labels(symbol, reason).inc()

    def resyncs(self, symbol: str) -> int:
        """Return how often the symbol's book was given up, for whatever reason, the first fetch included."""
        return self._resync_counts.get(symbol, 0)

    def snapshot_failed(self, symbol: str) -> None:
        """Count a failed request for a snapshot."""
        self._snapshot_failures.labels(symbol).inc()

    def published(self, count: int) -> None:
        """Count events that Kafka has acknowledged."""
        self._published.inc(count)

    def kafka_session(self) -> None:
        """Count a connection to Kafka."""
        self._sessions.inc()

    def error(self, component: str, error: BaseException) -> None:
        """Count an error that was caught."""
        self._errors.labels(f"producer.{component}", type(error).__name__).inc()

    def watch(self, name: str, description: str, value: Callable[[], float]) -> None:
        """Show `value()` as a gauge, asked for at each scrape."""
        Gauge(_PREFIX + name, description, registry=self.registry).set_function(value)

    def _counter(self, name: str, description: str, *labels: str) -> Counter:
        return Counter(_PREFIX + name, description, labels, registry=self.registry)
