"""Which worker took symbols over from which, and for how long they had no report.

Pure: reports in, lines out. The gap is that between the last report of the former writer and the first one of its
successor, by the time that each wrote into its report, so looking late does not lengthen it. It is right if somebody
looks at least once a fast cycle, and on one clock: workers on several hosts need clocks that agree.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any, Final

import msgspec

_KEPT: Final = 6
_TOGETHER_MS: Final = 10_000


class _Written(msgspec.Struct, frozen=True):
    """Who wrote a report, and when (epoch ms)."""

    node: str
    epoch: int
    at_ms: int


class Takeover(msgspec.Struct):
    """Symbols that went from one worker to another within some seconds; `longest_ms` is the longest gap of any."""

    before: str
    after: str
    first_ms: int
    at: str
    longest_ms: int
    symbols: list[str]

    def line(self) -> str:
        """Return it as one line for people."""
        whose = f"{self.before} → {self.after}" if self.before != self.after else f"{self.after} again"
        symbols = ", ".join(sorted(self.symbols))
        return f"{self.at} UTC  {whose}  {symbols}: {self.longest_ms / 1000:.2f} s between two reports"


class Takeovers:
    """Notes takeovers from the reports as they are seen."""

    def __init__(self) -> None:
        self._last: dict[str, _Written] = {}
        self._seen: deque[Takeover] = deque(maxlen=_KEPT)

    def note(self, reports: Mapping[str, dict[str, Any] | None]) -> None:
        """Look at the newest report of each symbol, `None` where there is none."""
        for symbol, report in reports.items():
            if report is not None:
                self._note(symbol, report)

    def lines(self) -> list[str]:
        """Return the newest takeovers, the oldest first."""
        return [takeover.line() for takeover in self._seen]

    def _note(self, symbol: str, report: dict[str, Any]) -> None:
        now = _Written(report["writer"]["nodeId"], report["writer"]["writerToken"], report["updatedAt"])
        before, self._last[symbol] = self._last.get(symbol), now
        if before is None or (before.node, before.epoch) == (now.node, now.epoch):
            return
        gap_ms = max(0, now.at_ms - before.at_ms)
        for known in self._seen:
            together = abs(now.at_ms - known.first_ms) <= _TOGETHER_MS
            if together and (known.before, known.after) == (before.node, now.node):
                known.longest_ms = max(known.longest_ms, gap_ms)
                if symbol not in known.symbols:
                    known.symbols.append(symbol)
                return
        at = report["generated_at"][11:19]
        self._seen.append(Takeover(before.node, now.node, now.at_ms, at, gap_ms, [symbol]))
