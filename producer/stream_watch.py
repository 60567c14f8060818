"""Has one stream of a symbol ended while others go on? What another stream proves is believed, silence is not.

A quiet market has few trades, so that none comes means nothing. But the streams of a symbol tell of one another, by
ids and by times of the exchange, so that it does not matter which of two messages came first:

| what came                                       | what has come by then, or is under way                   |
|-------------------------------------------------|----------------------------------------------------------|
| a 24 h ticker whose last trade is L             | trade L                                                  |
| trade t, at time T                              | a 24 h ticker up to trade t; a diff of time T or later   |
| a diff U to u that changed the best bid or ask  | a best bid and ask of id U or later, a top 20 of the same |
| a best bid and ask, or a top 20, of id u        | a diff up to u                                           |

A stream that owes something, and brings nothing at all for `LOOKS` looks in a row, has ended. It is asked for anew
then, and again with growing pauses. Where nothing is proved (trades and 24 h ticker ended together, or all streams of
a symbol), a stream is asked for anew after `QUIET` looks without a message; that costs a quiet market nothing.

What was before the first proof since a stream was subscribed to is not owed: it may be older than the subscription.
Looks are counted, not seconds: in a pause of ours messages queue up and no look happens.

Ids may begin again (`begun_again`), and times may have run ahead. All marks of that scale are then worth nothing, for
each compares two streams: they start over, and what comes first is not owed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from producer.begun_again import BegunAgain

TRADES: Final = "trade"
TICKER: Final = "ticker"
BEST: Final = "bookTicker"
DIFFS: Final = "depth@100ms"
TOP: Final = "depth20@100ms"
KINDS: Final = (TRADES, TICKER, BEST, DIFFS, TOP)

LOOKS: Final = 10  # more than a connection's own watch needs to find out that all of it is dead
QUIET: Final = 300
LONGEST: Final = 3600


@dataclass(frozen=True, slots=True)
class Silence:
    """A stream to ask for anew; `proved` if it must have brought something, `first` if that was just found out."""

    kind: str
    proved: bool
    first: bool = False


class _Mark:
    """How far a stream has come on one scale, and how far it must come."""

    __slots__ = ("_based", "_low_owed", "_low_reached", "owed", "reached")

    def __init__(self) -> None:
        self._low_reached, self._low_owed = BegunAgain(), BegunAgain()
        self.start_over()

    def start_over(self) -> None:
        """Forget how far it has come: that was on a scale that is no more."""
        self.reached = self.owed = 0
        self._based = False

    def came(self, reached: int) -> bool:
        """Note how far it has come; return whether the scale has begun again."""
        self._based = True
        if reached >= self.reached:
            self.reached = reached
            return False
        return self._low_reached.note(reached, self.reached)

    def must_reach(self, mark: int) -> bool:
        """Note how far it must come; return whether the scale has begun again."""
        if not self._based:
            self.came(mark)
        elif mark >= self.owed:
            self.owed = mark
        else:
            return self._low_owed.note(mark, self.owed)
        return False


class _Stream:
    """One stream; `ids` is its scale of trade or update ids, `times` that of event times."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.fresh = self.ended = False
        self._silent = self._waited = 0
        self._patience, self._quiet = LOOKS, QUIET
        self.begin(subscribed=False)

    def begin(self, *, subscribed: bool) -> None:
        """Whatever is published from now on comes in, or nothing does."""
        self._subscribed = subscribed
        self.ids, self.times = _Mark(), _Mark()
        self._heard()

    def came(self, update_id: int) -> bool:
        """A message came; return whether its ids have begun again."""
        self.fresh = True
        return self.ids.came(update_id)

    def look(self) -> Silence | None:
        """Look once more; return what is to be done."""
        if not self._subscribed:
            return None
        if self.fresh:
            self._heard()
            return None
        self._silent += 1
        if self.ids.owed > self.ids.reached or self.times.owed > self.times.reached:
            return self._wait_for_owed()
        if self._silent < self._quiet:
            return None
        self._silent, self._quiet = 0, min(2 * self._quiet, LONGEST)
        return Silence(self.kind, proved=False)

    def _wait_for_owed(self) -> Silence | None:
        self._waited += 1
        if self._waited < self._patience:
            return None
        self._waited, self._patience = 0, min(2 * self._patience, LONGEST)
        first, self.ended = not self.ended, True
        return Silence(self.kind, proved=True, first=first)

    def _heard(self) -> None:
        self.fresh = self.ended = False
        self._silent = self._waited = 0
        self._patience, self._quiet = LOOKS, QUIET


class StreamWatch:
    """The five streams of one symbol; it holds no clock and no connection."""

    def __init__(self) -> None:
        self._streams = {kind: _Stream(kind) for kind in KINDS}
        self._trades, self._ticker, self._best, self._diffs, self._top = self._streams.values()

    @property
    def ended(self) -> list[str]:
        """Kinds of streams that have ended alone and have not come back."""
        return [stream.kind for stream in self._streams.values() if stream.ended]

    def ready(self, kind: str) -> None:
        """Whatever the exchange publishes on this stream comes in from now on."""
        self._streams[kind].begin(subscribed=True)

    def lost(self, kind: str) -> None:
        """The stream does not come in, and somebody else sees to it."""
        self._streams[kind].begin(subscribed=False)

    def on_trade(self, trade_id: int, time_ms: int) -> None:
        """A trade came."""
        if self._trades.came(trade_id) or self._ticker.ids.must_reach(trade_id):
            self._trade_ids_begin_again()
        if self._diffs.times.must_reach(time_ms):
            self._diffs.times.start_over()

    def on_ticker(self, last_trade_id: int) -> None:
        """A 24 h ticker came."""
        if self._ticker.came(last_trade_id) or self._trades.ids.must_reach(last_trade_id):
            self._trade_ids_begin_again()

    def on_best(self, update_id: int) -> None:
        """A best bid and ask came."""
        if self._best.came(update_id) or self._diffs.ids.must_reach(update_id):
            self._update_ids_begin_again()

    def on_top(self, update_id: int) -> None:
        """A top 20 came."""
        if self._top.came(update_id) or self._diffs.ids.must_reach(update_id):
            self._update_ids_begin_again()

    def on_diff(self, final_update_id: int, time_ms: int) -> None:
        """A diff came."""
        if self._diffs.came(final_update_id):
            self._update_ids_begin_again()
        if self._diffs.times.came(time_ms):
            self._diffs.times.start_over()

    def on_best_moved(self, first_update_id: int) -> None:
        """A diff that begins at `first_update_id` changed the best bid or ask of a book that is known."""
        if self._best.ids.must_reach(first_update_id) or self._top.ids.must_reach(first_update_id):
            self._update_ids_begin_again()

    def look(self) -> Iterator[Silence]:
        """Yield the streams to ask for anew; to be called about once a second."""
        for stream in self._streams.values():
            silence = stream.look()
            if silence is not None:
                yield silence

    def _trade_ids_begin_again(self) -> None:
        for stream in (self._trades, self._ticker):
            stream.ids.start_over()

    def _update_ids_begin_again(self) -> None:
        for stream in (self._best, self._diffs, self._top):
            stream.ids.start_over()
