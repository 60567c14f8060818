"""What the producer counts, for Prometheus; every name is listed here once."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from producer.wire import Kind

_PREFIX: Final = "context8_producer_"


class _BySymbol(Collector):
    """Values by symbol that are kept elsewhere; nothing is stored twice."""

    def __init__(self, name: str, description: str, values: Callable[[], Mapping[str, float]], counts: bool) -> None:
        self._name = name
        self._description = description
        self._values = values
        self._family = CounterMetricFamily if counts else GaugeMetricFamily

    def describe(self) -> Iterable[Metric]:
        """Return the family without values."""
        return [self._family(self._name, self._description, labels=["symbol"])]

    def collect(self) -> Iterable[Metric]:
        """Return the family with its values of now."""
        family = self._family(self._name, self._description, labels=["symbol"])
        for symbol, value in self._values().items():
            family.add_metric([symbol], value)
        return [family]


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
        self._trades_missed = self._counter(
            "trades_missed_total", "Trades that never came, by the steps in their ids", "symbol"
        )
        self._connections_lost = self._counter("connections_lost_total", "Connections to the exchange lost", "reason")
        self._published = self._counter("published_total", "Events acknowledged by Kafka")
        self._latency = Histogram(
            _PREFIX + "publish_seconds",
            "Seconds from an event to Kafka's acknowledgement, the oldest of each batch",
            buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120),
            registry=self.registry,
        )
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

    def trades_missed(self, symbol: str, count: int) -> None:
        """Count trades that the exchange numbered and that never came."""
        self._trades_missed.labels(symbol).inc(count)

    def connection_lost(self, reason: str) -> None:
        """Count a lost connection."""
        self._connections_lost.labels(reason).inc()

    def published(self, count: int, latency: float) -> None:
        """Count a batch that Kafka has acknowledged; `latency` in seconds, of its oldest event."""
        self._published.inc(count)
        self._latency.observe(latency)

    def kafka_session(self) -> None:
        """Count a connection to Kafka."""
        self._sessions.inc()

    def error(self, component: str, error: BaseException) -> None:
        """Count an error that was caught."""
        self._errors.labels(f"producer.{component}", type(error).__name__).inc()

    def watch(self, name: str, description: str, value: Callable[[], float]) -> None:
        """Show `value()` as a gauge, asked for at each scrape."""
        Gauge(_PREFIX + name, description, registry=self.registry).set_function(value)

    def watch_symbols(
        self, name: str, description: str, values: Callable[[], Mapping[str, float]], *, counts: bool = False
    ) -> None:
        """Show `values()`, by symbol, asked for at each scrape; `counts` for what only grows."""
        self.registry.register(_BySymbol(_PREFIX + name, description, values, counts))

    def _counter(self, name: str, description: str, *labels: str) -> Counter:
        return Counter(_PREFIX + name, description, labels, registry=self.registry)
