"""Prometheus metrics of the reader.

A symbol becomes a label value only once a report of it has been found; until then it counts as `unknown`.
So a caller who makes symbols up cannot make time series. A symbol of which no report was found for an hour is
forgotten with the next scrape, and when there are more than `MOST_SYMBOLS`, the one that was asked for longest ago.
All other label values are known beforehand, and have a series from the start: Prometheus cannot see a counter rise
that was not there before.

The cache figures are gauges that only rise: the client library would add `_total` to a counter's name, and their
names are fixed by the dashboards.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Final, Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from app.symbol_series import MOST_SYMBOLS, SymbolSeries
from report_server.clocks import Whose
from report_server.service import Answer, Outcome

Method = Literal["tools/call", "resources/read", "GET"]

# Dense around the limit of 150 ms and around what a healthy reader takes.
_BUCKETS_MS: Final = (0.5, 1, 2, 5, 10, 20, 30, 50, 75, 100, 125, 150, 175, 200, 300, 500, 1000, 5000)
_UNKNOWN: Final = "unknown"
_CRASHED: Final = ("error", "500")
FORGET_SEC: Final = 3600.0

# What counts as an error of the reader, by the word of its outcome: component and type.
_ERRORS: Final = {
    Outcome.UNAVAILABLE.word: ("store", "unavailable"),
    Outcome.CORRUPT.word: ("reader", "corrupt_report"),
    "error": ("reader", "unanswered"),
}


class ReaderMetrics:
    """Counts and times the requests of one reader."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.refused = Counter(
            "context8_mcp_refused_total", "Requests refused before they were read", ["reason"], registry=self.registry
        )
        self.streams = Gauge("context8_mcp_streams", "Streams of reports that are open", registry=self.registry)
        self._series = SymbolSeries(MOST_SYMBOLS + 1)  # and `unknown`
        self._found_at: dict[str, float] = {}  # oldest first
        self._children: dict[tuple[Method, str], tuple[Counter, Histogram]] = {}
        self._requests = Counter(
            "context8_mcp_requests_total", "Requests for reports", ["method", "status"], registry=self.registry
        )
        self._durations = Histogram(
            "context8_mcp_request_duration_ms",
            "Time to answer; code is the HTTP status or what it would be",
            ["method", "code"],
            buckets=_BUCKETS_MS,
            registry=self.registry,
        )
        self.store_went_back = Counter(
            "context8_mcp_store_went_back_total",
            "Reports in the store found to be older than what was answered",
            registry=self.registry,
        )
        self._wrong_clocks = Counter(
            "context8_mcp_wrong_clocks_total",
            "Reports that showed a clock to be wrong: that of their worker, or this reader's own",
            ["whose"],
            registry=self.registry,
        )
        self._hits = Gauge("context8_mcp_cache_hits", "Reports found", ["symbol"], registry=self.registry)
        self._misses = Gauge(
            "context8_mcp_cache_misses", "Requests without a report", ["symbol"], registry=self.registry
        )
        self._errors = Counter(
            "context8_errors_total", "Errors by component and kind", ["component", "type"], registry=self.registry
        )
        self._begin()

    async def timed(self, method: Method, call: Awaitable[Answer]) -> Answer:
        """Await `call`, count and time it."""
        started = self._now()
        status, code = _CRASHED
        try:
            answer = await call
            status, code = answer.outcome.word, str(answer.outcome.http_status)
        finally:
            count, duration = self._of(method, status, code)
            count.inc()
            duration.observe((self._now() - started) * 1000)
            if status in _ERRORS:
                self._errors.labels(*_ERRORS[status]).inc()
        self._count_cache(answer, started)
        return answer

    def note_wrong_clock(self, whose: Whose) -> None:
        """Count a report that showed a clock to be wrong."""
        self._wrong_clocks.labels(whose).inc()

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        oldest = self._now() - FORGET_SEC
        for symbol in [symbol for symbol, at in self._found_at.items() if at < oldest]:
            self._forget(symbol)
        return generate_latest(self.registry)

    def _begin(self) -> None:
        """Make every series that can be known beforehand."""
        self._series.of(self._misses, _UNKNOWN)
        for labels in _ERRORS.values():
            self._errors.labels(*labels)
        for whose in get_args(Whose):
            self._wrong_clocks.labels(whose)
        for reason in ("token", "rate", "slow_head", "slow_reader", "connections"):
            self.refused.labels(reason)
        outcomes = [*((each.word, str(each.http_status)) for each in Outcome), _CRASHED]
        for method in get_args(Method):
            for status, code in outcomes:
                self._of(method, status, code)

    def _of(self, method: Method, status: str, code: str) -> tuple[Counter, Histogram]:
        # Finding a labelled child takes longer than counting with it.
        kept = self._children.get((method, status))
        if kept is None:
            kept = self._requests.labels(method, status), self._durations.labels(method, code)
            self._children[method, status] = kept
        return kept

    def _count_cache(self, answer: Answer, now: float) -> None:
        symbol = answer.symbol
        if symbol is None:
            return
        if answer.outcome is Outcome.FOUND:
            self._found_at.pop(symbol, None)
            self._found_at[symbol] = now
            if len(self._found_at) > MOST_SYMBOLS:
                self._forget(next(iter(self._found_at)))
            self._series.of(self._hits, symbol).inc()
        elif answer.outcome is Outcome.ABSENT:
            self._series.of(self._misses, symbol if symbol in self._found_at else _UNKNOWN).inc()

    def _forget(self, symbol: str) -> None:
        del self._found_at[symbol]
        self._series.forget(symbol)
