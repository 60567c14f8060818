"""What the producer counts, for Prometheus; every name is listed here once.

Series of symbols that are not subscribed to any more end with the next scrape.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.symbol_series import SymbolSeries
from producer.stream_watch import KINDS
from producer.wire import Kind

_PREFIX: Final = "context8_producer_"
# They have a series before they happen, since Prometheus cannot see a counter rise that was not there; the class of an
# error is its type, so that what else may happen is as many as there are classes.
_LIKELY_ERRORS: Final = (
    ("actor", "ValueError"),
    ("client", "TimeoutError"),
    ("publisher", "KafkaConnectionError"),
    ("symbols", "TimeoutError"),
)


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
        self._series = SymbolSeries()
        self._wanted: Callable[[], Collection[str]] | None = None
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
        self._streams_ended = self._counter(
            "streams_ended_total", "Streams that ended alone, found by what other streams told", "symbol", "stream"
        )
        self._ids_began_again = self._counter(
            "ids_began_again_total",
            "Times that the exchange began to number trades or book updates again",
            "symbol",
            "ids",
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
        for component, kind in _LIKELY_ERRORS:
            self._errors.labels(f"producer.{component}", kind)
        for reason in ("dropped", "silent", "overloaded"):
            self._connections_lost.labels(reason)
        self._resync_counts: dict[str, int] = {}
        self._tally: dict[tuple[str, Kind], int] = defaultdict(int)

    def event(self, symbol: str, kind: Kind) -> None:
        """Count an event; its series is counted on at the next scrape, since that takes ten times as long."""
        self._tally[symbol, kind] += 1

    def dropped(self, symbol: str, kind: Kind) -> None:
        """Count an event that found no room."""
        self._of(self._dropped, symbol, kind.event_type).inc()

    def resync(self, symbol: str, reason: str) -> None:
        """Count a book that was given up."""
        self._resync_counts[symbol] = self.resyncs(symbol) + 1
        self._of(self._resyncs, symbol, reason).inc()

    def resyncs(self, symbol: str) -> int:
        """Return how often the symbol's book was given up, for whatever reason, the first fetch included."""
        return self._resync_counts.get(symbol, 0)

    def snapshot_failed(self, symbol: str) -> None:
        """Count a failed request for a snapshot."""
        self._of(self._snapshot_failures, symbol).inc()

    def trades_missed(self, symbol: str, count: int) -> None:
        """Count trades that the exchange numbered and that never came."""
        self._of(self._trades_missed, symbol).inc(count)

    def stream_ended(self, symbol: str, stream: str) -> None:
        """Count a stream that ended while others went on."""
        self._of(self._streams_ended, symbol, stream).inc()

    def ids_began_again(self, symbol: str, ids: str) -> None:
        """Count that ids, of a `trade` or an `update`, began again at small ones."""
        self._of(self._ids_began_again, symbol, ids).inc()

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

    def show_only(self, wanted: Callable[[], Collection[str]]) -> None:
        """From each scrape on, have no series of symbols other than `wanted()`."""
        self._wanted = wanted

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        tally, self._tally = self._tally, defaultdict(int)
        for (symbol, kind), count in tally.items():
            self._of(self._events, symbol, kind.event_type).inc(count)
        if self._wanted is not None:
            self._series.keep(self._wanted())
        return generate_latest(self.registry)

    def watch(self, name: str, description: str, value: Callable[[], float]) -> None:
        """Show `value()` as a gauge, asked for at each scrape."""
        Gauge(_PREFIX + name, description, registry=self.registry).set_function(value)

    def watch_symbols(
        self, name: str, description: str, values: Callable[[], Mapping[str, float]], *, counts: bool = False
    ) -> None:
        """Show `values()`, by symbol, asked for at each scrape; `counts` for what only grows."""
        self.registry.register(_BySymbol(_PREFIX + name, description, values, counts))

    def _of(self, counter: Counter, symbol: str, *labels: str) -> Counter:
        if symbol not in self._series and self._series.admits(symbol):
            # From the start and at 0: Prometheus cannot see a counter rise that was not there before.
            for kind in {each.event_type for each in Kind}:
                self._series.of(self._dropped, symbol, kind)
            self._series.of(self._snapshot_failures, symbol)
            self._series.of(self._trades_missed, symbol)
            for stream in KINDS:
                self._series.of(self._streams_ended, symbol, stream)
            for ids in ("trade", "update"):
                self._series.of(self._ids_began_again, symbol, ids)
        return self._series.of(counter, symbol, *labels)

    def _counter(self, name: str, description: str, *labels: str) -> Counter:
        return Counter(_PREFIX + name, description, labels, registry=self.registry)
