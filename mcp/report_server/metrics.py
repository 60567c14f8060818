"""Prometheus metrics of the reader.

A symbol becomes a label value only once a report of it has been found; until then it counts as `unknown`.
So a caller who makes symbols up cannot make time series. The cache figures are gauges that only rise:
the client library would add `_total` to a counter's name, and their names are fixed by the dashboards.
"""

import time
from collections.abc import Awaitable
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from report_server.service import Answer, Outcome

Method = Literal["tools/call", "resources/read", "GET"]

# Dense around the limit of 150 ms and around what a healthy reader takes.
_BUCKETS_MS: Final = (0.5, 1, 2, 5, 10, 20, 30, 50, 75, 100, 125, 150, 175, 200, 300, 500, 1000, 5000)
_UNKNOWN: Final = "unknown"
_CRASHED: Final = ("error", "500")


class ReaderMetrics:
    """Counts and times the requests of one reader."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.refused = Counter(
            "context8_mcp_refused_total", "Requests refused before they were read", ["reason"], registry=self.registry
        )
        self.streams = Gauge("context8_mcp_streams", "Streams of reports that are open", registry=self.registry)
        self._found: dict[str, Gauge] = {}
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
        self._hits = Gauge("context8_mcp_cache_hits", "Reports found", ["symbol"], registry=self.registry)
        self._misses = Gauge(
            "context8_mcp_cache_misses", "Requests without a report", ["symbol"], registry=self.registry
        )

    async def timed(self, method: Method, call: Awaitable[Answer]) -> Answer:
        """Await `call`, count and time it."""
        started = time.perf_counter()
        status, code = _CRASHED
        try:
            answer = await call
            status, code = answer.outcome.word, str(answer.outcome.http_status)
        finally:
            count, duration = self._of(method, status, code)
            count.inc()
            duration.observe((time.perf_counter() - started) * 1000)
        self._count_cache(answer)
        return answer

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def _of(self, method: Method, status: str, code: str) -> tuple[Counter, Histogram]:
        # Finding a labelled child takes longer than counting with it.
        kept = self._children.get((method, status))
        if kept is None:
            kept = self._requests.labels(method, status), self._durations.labels(method, code)
            self._children[method, status] = kept
        return kept

    def _count_cache(self, answer: Answer) -> None:
        if answer.symbol is None:
            return
        if answer.outcome is Outcome.FOUND:
            hits = self._found.get(answer.symbol)
            if hits is None:
                hits = self._found[answer.symbol] = self._hits.labels(answer.symbol)
            hits.inc()
        elif answer.outcome is Outcome.ABSENT:
            self._misses.labels(answer.symbol if answer.symbol in self._found else _UNKNOWN).inc()
