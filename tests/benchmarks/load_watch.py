"""What one run under a steady load shows: of the workers' processes, of their metrics, of the reports in Redis."""

import asyncio
import math
import re
import time
from collections.abc import Callable, Sequence

import msgspec

from app.stack.errors import StackError
from benchmarks.load_worker import ReportLooks, pause_until, usage_of
from support.workers import Worker

LOOK_SEC = 0.1
_COUNTERS = (
    "context8_events_total",
    "context8_dead_letters_total",
    "context8_duplicate_events_total",
    "context8_errors_total",
    "context8_changelog_bytes_total",
    'context8_slow_cycles_total{outcome="done"}',
    'context8_slow_cycles_total{outcome="skipped"}',
)


class Memory(msgspec.Struct, frozen=True):
    """Memory of all workers at a time, counted from the start of the measurement."""

    at_sec: float
    rss_mb: float


class Outcome(msgspec.Struct, frozen=True):
    """What was measured in `seconds`; shares are of one core, ages in ms, rates by second.

    `counted` are the workers' counters since their start, until everything sent was applied.
    """

    seconds: float
    cpu_shares: list[float]
    memory: list[Memory]
    age_p50: float
    age_p95: float
    age_p99: float
    age_worst: float
    reports_a_symbol: float
    changelog_bytes_per_sec: float
    broken_books: int
    counted: dict[str, float]


class Watch:
    """Looks at `workers` and at the reports of `symbols`."""

    def __init__(self, workers: Sequence[Worker], reports: ReportLooks, symbols: int) -> None:
        self._workers = workers
        self._reports = reports
        self._symbols = symbols
        self._pids = [worker.working_pid for worker in workers]
        self._made: dict[str, int] = {}

    def until_all_reported(self, limit_sec: float) -> None:
        """Wait until every symbol has a report.

        Raises:
            StackError: they have not, within the limit.
        """
        deadline = time.monotonic() + limit_sec
        while len(seen := self._reports.all()) < self._symbols:
            self._require_alive()
            if time.monotonic() > deadline:
                raise StackError(f"{len(seen)} of {self._symbols} symbols have a report after {limit_sec:.0f} s")
            time.sleep(LOOK_SEC)

    def measure(self, seconds: float, note: Callable[[float], None]) -> Outcome:
        """Look for so long; `note` hears how long it has been."""
        ages: list[int] = []
        memory: list[Memory] = []
        written = self._counters()["context8_changelog_bytes_total"]
        began, before = time.monotonic(), [usage_of(pid).cpu for pid in self._pids]
        now, next_memory = began, began
        while now - began < seconds:
            self._require_alive()
            ages += self._new_ages()
            if now >= next_memory:
                memory.append(Memory(now - began, sum(usage_of(pid).rss_mb for pid in self._pids)))
                next_memory += max(1.0, seconds / 100)
            note(now - began)
            now = pause_until(now + LOOK_SEC)
        lasted = now - began
        shares = [(usage_of(pid).cpu - cpu) / lasted for pid, cpu in zip(self._pids, before, strict=True)]
        counted = self._counters()
        ages.sort()
        return Outcome(
            seconds=lasted,
            cpu_shares=shares,
            memory=memory,
            age_p50=percentile(ages, 50),
            age_p95=percentile(ages, 95),
            age_p99=percentile(ages, 99),
            age_worst=ages[-1],
            reports_a_symbol=len(ages) / lasted / self._symbols,
            changelog_bytes_per_sec=(counted["context8_changelog_bytes_total"] - written) / lasted,
            broken_books=sum(not seen.provenance.whole for seen in self._reports.all().values()),
            counted=counted,
        )

    def until_applied(self, events: int, limit_sec: float) -> dict[str, float]:
        """Wait until the workers have counted so many events; return their counters.

        Raises:
            StackError: they have not, within the limit.
        """
        deadline = time.monotonic() + limit_sec
        while (counted := self._counters())["context8_events_total"] < events:
            self._require_alive()
            if time.monotonic() > deadline:
                raise StackError(f"{counted['context8_events_total']:.0f} of {events} events were applied")
            time.sleep(LOOK_SEC)
        return counted

    def _new_ages(self) -> list[int]:
        """Return the ages at writing of reports that were not seen before."""
        fresh = [(s, seen) for s, seen in self._reports.all().items() if self._made.get(s) != seen.updated_at]
        self._made |= {symbol: seen.updated_at for symbol, seen in fresh}
        return [seen.data_age_ms for _, seen in fresh]

    def _counters(self) -> dict[str, float]:
        pages = [asyncio.run(worker.metrics()) for worker in self._workers]
        return {name: sum(total(page, name) for page in pages) for name in _COUNTERS}

    def _require_alive(self) -> None:
        for worker in self._workers:
            if not worker.running:
                raise StackError(f"{worker.name} ended with {worker.exit_code}:\n{worker.log_tail()}")


def total(page: str, name: str) -> float:
    """Return the sum over all labels of a metric, or its value if `name` has labels.

    >>> total('a_total{x="1"} 2.0\\na_total{x="2"} 3.0', "a_total")
    5.0
    """
    lines = re.findall(rf"^{re.escape(name)}(?:\{{.*\}})? (\S+)$", page, re.MULTILINE)
    return sum(map(float, lines))


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the smallest of the values, in rising order, that so many percent of them do not exceed.

    >>> percentile([1, 2, 3, 4], 50)
    2
    """
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]
