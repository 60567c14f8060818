"""When reports were written, and whose clock is wrong.

A report comes from another host, and a host's wall clock may be off by an hour, or jump. So no wall clock says how old
a report is. The store notes its own time beside each report and says its own time with each read; their difference is
the report's age at the read, and from there on this process counts on its monotonic clock.

`updatedAt` in the report is the wall clock of its worker. It is compared with the store's clock, as this reader's own
wall clock is, and whichever is more than `WRONG_CLOCK_MS` off is named (`Clocks.problem`), counted and logged. If all
are off by the same, it is the store's.

One age a worker does reckon by its wall clock: `data_age_ms`, the time since the newest event. Where that clock is
wrong by two others, the store's and ours, which agree, it is reckoned again by them.

A store that says no time, and a worker of a version that had none noted, leave the two wall clocks. Then a report from
the future is not trusted: it may be of any age, and is stale.
"""

import logging
from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from app.stores.base import Reading
from report_server.freshness import Stored

_log = logging.getLogger(__name__)

# Hosts that are set by NTP agree to some ms. A worker that was paused between making and writing a report, or a slow
# store, may add as much as a write may take, which is a second.
WRONG_CLOCK_MS: Final = 2000
# One that wavers around the limit would otherwise be logged with each report.
_RIGHT_AGAIN_MS: Final = WRONG_CLOCK_MS // 2
# A worker that has gone dates no more reports, and is not named for ever.
_FORGET_MS: Final = 60_000
_MOST_NAMED: Final = 20

Whose = Literal["worker", "reader"]
_READER: Final = ""  # among the nodes, none of which is called that
_STORE: Final = "the store's clock"
_OURS: Final = "this reader's clock"


class _Wrong(NamedTuple):
    """By how much a clock is ahead, of which, and when that was seen last (monotonic ms)."""

    ahead_ms: int
    of: str
    seen_ms: int


class Clocks:
    """Dates reports for this process.

    Attributes:
        on_wrong: called with whose clock it is for each report that shows a wrong one.
    """

    def __init__(self, monotonic: Callable[[], float], wall_ms: Callable[[], int]) -> None:
        """Count on `monotonic`, in seconds, the clock of `Reading.at`; `wall_ms` is this host's, in epoch ms."""
        self._monotonic = monotonic
        self._wall_ms = wall_ms
        self._wrong: dict[str, _Wrong] = {}
        self._store_is_silent = False
        self.on_wrong: Callable[[Whose], None] = lambda _: None

    def now_ms(self) -> int:
        """Return the monotonic time in ms."""
        return int(self._monotonic() * 1000)

    def stored(self, reading: Reading) -> Stored:
        """Return a version of a report that was not seen before, dated.

        Raises:
            ValueError: it is not a JSON object in UTF-8.
        """
        at_ms = int(reading.at * 1000)
        stored = Stored(reading.body, noted_ms=reading.written_ms)
        wall_ms = self._wall_ms() - (self.now_ms() - at_ms)
        self._note_store(reading)
        ours_right = reading.store_ms is not None and self._compare(_READER, wall_ms - reading.store_ms, _STORE)
        age_ms = _age_ms(stored, reading)
        if age_ms is not None and reading.written_ms is not None:
            stored.written_ms = at_ms - age_ms
            if not self._compare_worker(stored, reading.written_ms, _STORE) and ours_right:
                stored.correct_data_age(reading.written_ms)
            return stored
        # A report that does not say when it was written was written long ago.
        age_ms = wall_ms - stored.updated_at
        stored.written_ms, stored.trusted = at_ms - max(0, age_ms), age_ms >= -WRONG_CLOCK_MS
        if age_ms < 0:
            self._compare_worker(stored, wall_ms, _OURS)
        return stored

    def again(self, stored: Stored, reading: Reading) -> None:
        """Take another reading of the same version into account: the older date counts.

        So a store whose clock is set back makes nothing younger, and a monotonic clock that stood still while its host
        was suspended catches up.
        """
        age_ms = _age_ms(stored, reading)
        if age_ms is None:
            return
        at_ms = int(reading.at * 1000)
        stored.written_ms = min(stored.written_ms, at_ms - age_ms) if stored.trusted else at_ms - age_ms
        stored.trusted = True

    def problem(self) -> str | None:
        """Return which clocks are wrong, and by how much; `None` if none is."""
        self._forget()
        named = [_line(node, wrong) for node, wrong in self._wrong.items()]
        if self._store_is_silent:
            named.append("the store does not say its time (right to TIME), so ages rest on the hosts' clocks")
        return "; ".join(named) or None

    def _compare_worker(self, stored: Stored, right_ms: int, of: str) -> bool:
        if not stored.node or not stored.updated_at:
            return True  # it says nothing, so nothing wrong
        return self._compare(stored.node, stored.updated_at - right_ms, of)

    def _compare(self, node: str, ahead_ms: int, of: str) -> bool:
        """Note by how much a clock is ahead of another; return whether that is right."""
        known = self._wrong.get(node)
        if abs(ahead_ms) <= (WRONG_CLOCK_MS if known is None else _RIGHT_AGAIN_MS):
            if known is not None:
                del self._wrong[node]
                what = f"{node} dates its reports by" if node else f"{_OURS} agrees with"
                _log.warning("%s %s again", what, of)
            return True
        self.on_wrong("worker" if node else "reader")
        if known is None:
            self._forget()
            if len(self._wrong) >= _MOST_NAMED:
                return False
        self._wrong[node] = wrong = _Wrong(ahead_ms, of, self.now_ms())
        if known is None:
            _log.warning("%s", _line(node, wrong))
        return False

    def _forget(self) -> None:
        oldest_ms = self.now_ms() - _FORGET_MS
        self._wrong = {node: wrong for node, wrong in self._wrong.items() if wrong.seen_ms >= oldest_ms}

    def _note_store(self, reading: Reading) -> None:
        silent = reading.store_ms is None
        if silent and not self._store_is_silent:
            _log.warning("the store does not say its time: give the reader the right to TIME")
        self._store_is_silent = silent


def _age_ms(stored: Stored, reading: Reading) -> int | None:
    """Return how old a report was at the read by the store's clock, `None` if that does not say."""
    if reading.store_ms is None or reading.written_ms is None or reading.epoch != stored.epoch:
        return None
    age_ms = reading.store_ms - reading.written_ms
    # A clock that was set back by more than is usual knows nothing of what was before.
    return max(0, age_ms) if age_ms >= -WRONG_CLOCK_MS else None


def _line(node: str, wrong: _Wrong) -> str:
    # A worker whose clock was set back goes on with the time that it had: what is seen are dates, not the clock.
    what = f"{node} dates its reports" if node else f"{_OURS} is"
    side = "ahead of" if wrong.ahead_ms > 0 else "behind"
    return f"{what} {abs(wrong.ahead_ms) / 1000:.1f} s {side} {wrong.of}"
