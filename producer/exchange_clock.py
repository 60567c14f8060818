"""What time is it at the exchange? For messages that do not say it.

Partial depth messages and REST snapshots carry no time. The local clock cannot stand in, since one that is
minutes off would move the symbol's event time, and every window with it. So the time is the newest event
time that the exchange has sent for the symbol plus the monotonic time since it arrived. It never runs
backwards, and a wrong wall clock moves nothing.

One clock serves one symbol: replayed tapes may stand at different times.
"""


class ExchangeClock:
    """The exchange's time as far as one symbol shows it. All times are nanoseconds."""

    def __init__(self) -> None:
        self._newest = 0
        self._arrived = 0
        self._floor = 0
        self._assumed = True

    @property
    def known(self) -> bool:
        """Whether there is anything to go by."""
        return self._newest > 0

    def observe(self, event_time: int, monotonic: int) -> None:
        """Take the time of an event that arrived at `monotonic`."""
        if self._assumed:
            self._assumed = False
            self._newest = self._floor = 0
        if event_time > self._newest:
            self._newest = event_time
            self._arrived = monotonic

    def assume(self, wall: int, monotonic: int) -> None:
        """Go by the local wall clock until the first event; for a symbol that stays silent."""
        if self._assumed:
            self._newest, self._arrived = wall, monotonic

    def now(self, monotonic: int) -> int:
        """Return the exchange's time at `monotonic`, never less than before."""
        self._floor = max(self._floor, self._newest + monotonic - self._arrived)
        return self._floor
