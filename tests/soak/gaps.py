"""Every second of every symbol is accounted for: there was a fresh report, or a fault excuses the wait.

Two kinds of gap: between two reports, and between two reports whose data were fresh (ingestion `ok`). A gap that begins
or goes on in a window, or in the time after it that the window's fault excuses, may be as long as the windows that it
touches excuse together.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from soak.judge import Seen
from soak.timeline import Window

# With no fault at work: what the contract allows a planned change. Reports come four times a second, but on a machine
# that is busy with all of this a second is soon over.
QUIET_SEC: Final = 2.0
# The contract counts from the fault on, a gap from the last report before it.
_CYCLE_SEC: Final = 0.25


class Gap(NamedTuple):
    """A time without what should have come, in monotonic seconds."""

    symbol: str
    data: bool
    began: float
    ended: float
    causes: tuple[Window, ...]

    @property
    def lasted(self) -> float:
        """How long it was, in seconds."""
        return self.ended - self.began

    @property
    def allowed(self) -> float:
        """How long it may have been, in seconds."""
        return max(QUIET_SEC, _CYCLE_SEC + sum(each.excuses(self.data) for each in self.causes))


class Pause(NamedTuple):
    """A time in which nobody looked, in monotonic seconds: gaps in it are shortened by as much."""

    began: float
    ended: float


def gaps(
    seen: Mapping[str, Sequence[Seen]], begin: float, end: float, windows: Sequence[Window], pauses: Sequence[Pause]
) -> Iterator[Gap]:
    """Yield every gap longer than `QUIET_SEC` between `begin` and `end`, by symbol in order."""
    for symbol, sightings in seen.items():
        for data in (False, True):
            times = [each.at for each in sightings if begin <= each.at <= end and (not data or each.status == "ok")]
            for earlier, later in pairwise([begin, *times, end]):
                unseen = sum(max(0.0, min(later, each.ended) - max(earlier, each.began)) for each in pauses)
                if later - earlier - unseen > QUIET_SEC:
                    yield Gap(symbol, data, earlier, later - unseen, _causes(earlier, later, data, windows))


def _causes(began: float, ended: float, data: bool, windows: Sequence[Window]) -> tuple[Window, ...]:
    return tuple(
        each for each in windows if began <= each.ended.monotonic + each.excuses(data) and ended >= each.began.monotonic
    )


def longest_by_kind(found: Sequence[Gap]) -> dict[tuple[str, bool], Gap]:
    """Return the longest gap that each kind of fault had a part in, of reports and of data; "none" for no fault."""
    longest: dict[tuple[str, bool], Gap] = {}
    for gap in found:
        for kind in {each.kind for each in gap.causes} or {"none"}:
            if (kind, gap.data) not in longest or longest[kind, gap.data].lasted < gap.lasted:
                longest[kind, gap.data] = gap
    return longest
