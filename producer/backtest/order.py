"""Which report has seen which message? Events in order of receipt become events in order of event time.

A report as of T stands for every message whose `ts_event` is at most T. On the wire a message may overtake
an older one of another stream: on the recorded BTCUSDT tape every sixth trade or diff arrives after one with
a later event time, by up to 166 ms. An engine cannot take back what it applied, so a cut through the order
of receipt would either miss messages or look into the future. Therefore events are applied in the order of
their *order time*:

- The order time of an event is its `ts_event`, but never less than that of the event before it in the same
  stream, that is, of the same symbol and type. So a stream is never reordered: a diff waits for the diffs
  before it, without which it would be a gap, and a trade for the trades with lower ids.
- Events of equal order time keep the order in which they were received.
- The report as of T comes after the last event of order time ≤ T and before the first one beyond.

Where the venue stamps each stream in order, as Binance does, order time and `ts_event` are the same.

So the report as of T is a function of the recording and T alone: the step between reports does not change
it. And the order is the one in which things happened at the exchange: a trade comes before the diff that
shows its fill. A live worker applies messages as they arrive, up to some 100 ms apart from that. Its reports
equal those of a backtest where it was given the events in the same order.
"""

import heapq
from collections.abc import Iterator

from app.microstructure.events import Event


class EventTimeOrder:
    """Holds events back until nothing can come before them any more."""

    def __init__(self, lateness_ns: int) -> None:
        """Expect no event more than `lateness_ns` behind the greatest order time before it."""
        self._lateness_ns = lateness_ns
        self._newest = 0
        self._count = 0
        self._streams: dict[tuple[str, type[Event]], int] = {}
        self._held: list[tuple[int, int, Event]] = []

    def push(self, event: Event) -> Iterator[tuple[int, Event]]:
        """Take the next event received; yield order time and event of those whose turn has come."""
        stream = event.symbol, type(event)
        at = max(int(event.ts_event), self._streams.get(stream, 0))
        self._streams[stream] = at
        self._newest = max(self._newest, at)
        self._count += 1
        heapq.heappush(self._held, (at, self._count, event))
        return self._until(self._newest - self._lateness_ns)

    def rest(self) -> Iterator[tuple[int, Event]]:
        """Yield what is still held; nothing is received any more."""
        return self._until(self._newest)

    def _until(self, order_time: int) -> Iterator[tuple[int, Event]]:
        held = self._held
        while held and held[0][0] <= order_time:
            at, _, event = heapq.heappop(held)
            yield at, event
