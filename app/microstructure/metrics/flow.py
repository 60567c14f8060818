"""Trade flow: how often and in which direction the market trades.

orders_per_sec = trades in the last 10 s / 10; net_flow = Σ signed quantity over the flow window, buys
positive, both over (as_of - window, as_of] of event time. Not known until the stream was watched for the
whole window.

Quantities are counted in whole 10⁻⁸ units, the finest step of the venue. Integer sums are exact whatever
their order, so a restored state gives the very same number, and a flow of nothing is exactly 0.

A report reads both from running sums. With a hundred symbols on a core, adding up a minute of trades four times a
second, most of them no longer in the processor's cache, took a quarter of all its time.
"""

from array import array
from bisect import bisect_left, bisect_right
from itertools import accumulate
from operator import sub
from typing import Final

import msgspec

from app.microstructure.events import TradeTick
from app.microstructure.report import Flow
from app.microstructure.rfc3339 import NANOS_PER_SECOND

RATE_WINDOW_SEC: Final = 10
_UNITS: Final = 100_000_000
_COMPACT_AT: Final = 4096
_END: Final = 2**63 - 1  # of all times


class FlowState(msgspec.Struct, frozen=True, array_like=True):
    """The window: event times as int64, trades at each, signed quantity of each in 10⁻⁸ units.

    The quantities are JSON: MessagePack's integers end at 64 bits, which tokens of tiny price outgrow.
    """

    watched_since: int | None
    times: bytes
    counts: list[int]
    units: bytes


class TradeFlow:
    """Rate and net flow of trades; trades of one instant are one entry.

    Attributes:
        watched_since: event time since which every trade was seen, `None` before the first event of any kind.
    """

    def __init__(self, window_sec: int) -> None:
        self.watched_since: int | None = None
        self._window_sec = window_sec
        self._keep = max(window_sec, RATE_WINDOW_SEC) * NANOS_PER_SECOND
        self._times = array("q")
        # Trades, and their units, before each of the times; the last is the sum of all.
        self._trades_before = array("q", [0])
        self._units_before = [0]
        self._start = 0
        self._held = _END

    def update(self, trade: TradeTick) -> None:
        """Count a trade. Whoever calls has dropped duplicates."""
        payload = trade.payload
        units = round(payload.qty * _UNITS)
        self._add(int(trade.ts_event), units if payload.aggressor_side == "buy" else -units)

    def value(self, as_of: int) -> Flow:
        """Return the flow at `as_of`."""
        watched = -1 if self.watched_since is None else as_of - self.watched_since
        rate = net = None
        if watched >= RATE_WINDOW_SEC * NANOS_PER_SECOND:
            trades = self._trades_before
            rate = (trades[-1] - trades[self._first_after(as_of, RATE_WINDOW_SEC)]) / RATE_WINDOW_SEC
        if watched >= self._window_sec * NANOS_PER_SECOND:
            sums = self._units_before
            net = (sums[-1] - sums[self._first_after(as_of, self._window_sec)]) / _UNITS
        return Flow(orders_per_sec=rate, net_flow=net)

    def hold(self, at: int | None) -> None:
        """Keep all that a window ending at `at` needs, whatever comes; `None`: no longer."""
        self._held = _END if at is None else at

    def rewind(self, to: int) -> None:
        """Count what was stamped later than `to` at `to`: that time was wrong, and it has happened by now."""
        if self.watched_since is not None:
            self.watched_since = min(self.watched_since, to)
        at = bisect_left(self._times, to, lo=self._start)
        if at < len(self._times):
            del self._times[at + 1 :], self._trades_before[at + 1 : -1], self._units_before[at + 1 : -1]
            self._times[at] = to

    def snapshot(self) -> FlowState:
        """Return the window's contents."""
        trades, sums = self._trades_before[self._start :], self._units_before[self._start :]
        return FlowState(
            self.watched_since,
            self._times[self._start :].tobytes(),
            list(map(sub, trades[1:], trades)),
            msgspec.json.encode(list(map(sub, sums[1:], sums))),
        )

    @classmethod
    def restore(cls, state: FlowState, window_sec: int) -> "TradeFlow":
        """Return a flow that goes on where `state` was taken."""
        flow = cls(window_sec)
        flow.watched_since = state.watched_since
        units = msgspec.json.decode(state.units, type=list[int])
        flow._times = array("q", state.times)
        flow._trades_before = array("q", accumulate(state.counts, initial=0))
        flow._units_before = list(accumulate(units, initial=0))
        return flow

    def _add(self, time: int, units: int) -> None:
        times, trades, sums = self._times, self._trades_before, self._units_before
        last = times[-1] if times else -1
        if time > last:
            times.append(time)
            trades.append(trades[-1] + 1)
            sums.append(sums[-1] + units)
            self._expire((time if time < self._held else self._held) - self._keep)
        elif time == last:
            trades[-1] += 1
            sums[-1] += units
        elif time > min(last, self._held) - self._keep:
            self._add_late(time, units)

    def _add_late(self, time: int, units: int) -> None:
        """Count a trade that is older than the newest, but still inside the window."""
        times, trades, sums = self._times, self._trades_before, self._units_before
        at = bisect_right(times, time, lo=self._start)
        if at > self._start and times[at - 1] == time:
            at -= 1
        else:
            times.insert(at, time)
            trades.insert(at, trades[at])
            sums.insert(at, sums[at])
        for later in range(at + 1, len(sums)):
            trades[later] += 1
            sums[later] += units

    def _expire(self, until: int) -> None:
        while self._times[self._start] <= until:
            self._start += 1
        if self._start >= _COMPACT_AT:
            for column in (self._times, self._trades_before, self._units_before):
                del column[: self._start]
            self._start = 0

    def _first_after(self, as_of: int, window_sec: int) -> int:
        return bisect_right(self._times, as_of - window_sec * NANOS_PER_SECOND, lo=self._start)
