"""What a watcher of reports learns about each symbol: how often they come and how old their data is.

Pure: reports and times in, figures out.
"""

from typing import Any, Final

import msgspec
import numpy as np

FRESH_SEC: Final = 2.0


class Figures(msgspec.Struct, frozen=True):
    """A symbol's figures; times in ms, `None` where there was no report."""

    reports: int
    per_second: float | None
    age_p50_ms: float | None
    age_p95_ms: float | None


class Samples:
    """Reports of one symbol as they were first seen."""

    def __init__(self) -> None:
        self.latest: dict[str, Any] | None = None
        self._seen_at: list[float] = []
        self._ages_ms: list[float] = []

    def note(self, report: dict[str, Any], now: float) -> None:
        """Take a report into account, seen at `now` (monotonic seconds); the same one again is no news."""
        if self.latest is not None and report["updatedAt"] == self.latest["updatedAt"]:
            return
        self.latest = report
        self._seen_at.append(now)
        self._ages_ms.append(report["data_age_ms"])

    @property
    def first_seen_at(self) -> float | None:
        """When the first report was seen."""
        return self._seen_at[0] if self._seen_at else None

    def figures(self) -> Figures:
        """Return the figures over everything seen."""
        count = len(self._seen_at)
        if not count:
            return Figures(0, None, None, None)
        span = self._seen_at[-1] - self._seen_at[0]
        p50, p95 = np.percentile(self._ages_ms, [50, 95])
        return Figures(count, (count - 1) / span if span > 0 else None, float(p50), float(p95))

    def trouble(self, now: float) -> str | None:
        """Return why the symbol does not count as fresh at `now`, `None` if it does."""
        if self.latest is None:
            return "no report came"
        quiet = now - self._seen_at[-1]
        if quiet > FRESH_SEC:
            return f"no new report for {quiet:.1f} s"
        status = self.latest["ingestion"]["status"]
        if status != "ok":
            return f"ingestion is {status}: newest event {self.latest['ingestion']['last_event_age_ms']} ms ago"
        return None
