"""What time is it in the market, when some event times are wrong?

The clock of a symbol is its newest event time. One event stamped 50 s ahead would hold it there for 50 s: ages
would be hidden and every window would end where nothing has happened yet. So a clock that leapt is in doubt, and
goes back when the events do:

| event, against the newest time  | what follows                                                                |
|---------------------------------|-----------------------------------------------------------------------------|
| at most `TOLERANCE` away        | the clock goes on; `DOUBT` after a leap it is believed (`BELIEVED`)         |
| further ahead                   | the clock goes there, in doubt (`LEAPT`): windows keep what they held       |
| further behind, old ids         | sent twice: it says nothing                                                 |
| further behind, new ids         | one more in a row; any event near the newest time ends the row              |
| - `ROW` of them, in the leap    | the leap was wrong: the clock goes back to the newest of them (`WENT_BACK`) |
| - `PATIENCE` from first to last | the clock was wrong for long: it goes back, windows begin again (`RESET`)   |

Ids are the proof. Whatever is late or sent again has ids that were seen; where ids go on while times fall, times were
wrong. Nothing but events in the order of their offsets decides, so a replay decides the same.
"""

from enum import Enum, auto
from typing import Final

import msgspec

from app.microstructure.rfc3339 import NANOS_PER_SECOND

TOLERANCE: Final = 5 * NANOS_PER_SECOND  # streams of one symbol come over two connections, and one may lag
ROW: Final = 5
DOUBT: Final = 60 * NANOS_PER_SECOND
PATIENCE: Final = 30 * NANOS_PER_SECOND


class Step(Enum):
    """What the clock did that concerns those who keep windows."""

    NOTHING = auto()
    LEAPT = auto()
    BELIEVED = auto()
    WENT_BACK = auto()
    RESET = auto()


class ClockState(msgspec.Struct, frozen=True, array_like=True):
    """What is in doubt."""

    held: int | None
    landed: tuple[int, int]
    wrong: tuple[int, int]
    row: int
    first: int
    latest: int


class EventClock:
    """Decides for one symbol; only asked about events that are not near the newest time, and while `alert`.

    Attributes:
        alert: every event must be shown, not only those further away than `TOLERANCE`.
        held: the time from which the clock leapt, while that is in doubt; windows still reach back from there.
        latest: newest time of the events in a row that are behind.
        wrong: from which to which time the last leap went that was taken back; events that are so stamped are of it.
    """

    def __init__(self) -> None:
        self.alert = False
        self.held: int | None = None
        self.latest = 0
        self.wrong = (0, -1)
        self._landed = (0, 0)  # of the first leap in doubt, and of the last
        self._row = 0
        self._first = 0

    def see(self, ts_event: int, newest: int, *, new: bool) -> Step:
        """Take an event into account; `newest` is the clock before it, `new` whether its ids were not seen yet."""
        if ts_event >= newest - TOLERANCE:
            self._row = 0
            step = self._ahead(ts_event, newest)
        else:
            step = self._behind(ts_event, newest) if new else Step.NOTHING
        self.alert = self.held is not None or self._row > 0
        return step

    def snapshot(self) -> ClockState:
        """Return the whole state."""
        return ClockState(self.held, self._landed, self.wrong, self._row, self._first, self.latest)

    @classmethod
    def restore(cls, state: ClockState) -> "EventClock":
        """Return a clock that goes on where `state` was taken."""
        clock = cls()
        clock.held, clock.wrong, clock.latest = state.held, state.wrong, state.latest
        clock._landed, clock._row, clock._first = state.landed, state.row, state.first
        clock.alert = clock.held is not None or clock._row > 0
        return clock

    def _ahead(self, ts_event: int, newest: int) -> Step:
        if ts_event > newest + TOLERANCE:
            # A second leap while the first is in doubt leaves windows where they were, but not for ever: in a market
            # that trades every ten seconds each event is a leap.
            if self.held is None or newest - self.held >= DOUBT:
                self.held, self._landed = newest, (ts_event, ts_event)
            else:
                self._landed = self._landed[0], ts_event
            return Step.LEAPT
        if self.held is not None and ts_event >= self._landed[1] + DOUBT:
            self.held = None
            return Step.BELIEVED
        return Step.NOTHING

    def _behind(self, ts_event: int, newest: int) -> Step:
        if not self._row:
            self._first = self.latest = ts_event
        self._row += 1
        self.latest = max(self.latest, ts_event)
        if self.held is not None and self._row >= ROW and self.held - TOLERANCE <= self.latest < self._landed[1]:
            self._take_back(self.held, newest)
            return Step.WENT_BACK
        if self.latest - self._first >= PATIENCE:
            self.held, self._row = None, 0
            return Step.RESET
        return Step.NOTHING

    def _take_back(self, held: int, newest: int) -> None:
        first, last = self._landed[0], newest
        if self.wrong[1] >= first:  # the leap before was part of this one
            first, last = min(first, self.wrong[0]), max(last, self.wrong[1])
        self.wrong = first, last
        self._row = 0
        # The newest of the row may be ahead of the others: then that is the leap that is still in doubt.
        self.held = held if self.latest > held + TOLERANCE else None
        self._landed = self.latest, self.latest
