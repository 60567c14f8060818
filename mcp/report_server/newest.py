"""The newest version of each report, so that an answer never falls behind one that was given before.

A store may go back: Redis replicates without waiting, so a replica that becomes the master lacks the last writes. What
it has then is true and old. A reader that has answered with something newer goes on answering with that, which ages and
turns stale like any other report, until workers have written on.

What falls behind is: a report of an older writer; of the same writer, with an older event or an older time; of a newer
writer that has not read as far yet. It counts again after a while, because events may be numbered anew (a topic that
was made again), and epochs too, when Redis and the table were both emptied.
"""

import logging
import time
from collections.abc import Callable
from typing import Final

from app.stores.base import Reading
from report_server.clocks import Clocks
from report_server.freshness import Stored

_log = logging.getLogger(__name__)

_MOST_KEPT: Final = 1000


class _Kept:
    __slots__ = ("behind", "behind_since", "stored")

    def __init__(self, stored: Stored) -> None:
        self.stored = stored
        self.behind: Stored | None = None
        self.behind_since = 0.0


class Newest:
    """Keeps the newest version of each symbol's report.

    Attributes:
        on_fall: called whenever a report in the store is found behind its answer.
    """

    def __init__(
        self,
        catch_up_sec: float,
        forget_sec: float,
        clocks: Clocks,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep what is newer for `catch_up_sec` against a newer writer, for `forget_sec` against any other."""
        self._clocks = clocks
        self._catch_up_sec = catch_up_sec
        self._forget_sec = forget_sec
        self._monotonic = monotonic
        self._kept: dict[str, _Kept] = {}
        self.on_fall: Callable[[], None] = lambda: None

    def of(self, symbol: str, reading: Reading) -> Stored:
        """Return what to answer where the store has what was read.

        Raises:
            ValueError: that is not a JSON object in UTF-8.
        """
        kept = self._kept.get(symbol)
        if kept is None:
            return self._keep(symbol, self._clocks.stored(reading))
        if kept.stored.is_of(reading):
            kept.behind = None
            self._clocks.again(kept.stored, reading)
            return kept.stored
        stored = kept.behind
        if stored is None or not stored.is_of(reading):
            stored = self._clocks.stored(reading)
        limit_sec = self._held_sec(stored, kept.stored)
        if not limit_sec:
            return self._keep(symbol, stored)
        now = self._monotonic()
        if kept.behind is None:
            kept.behind_since = now
            self.on_fall()
            _log.warning("the store went back behind what was answered, which is answered on", extra={"symbol": symbol})
        elif now - kept.behind_since > limit_sec:
            return self._keep(symbol, stored)
        kept.behind = stored
        return kept.stored

    def _keep(self, symbol: str, stored: Stored) -> Stored:
        if self._kept.pop(symbol, None) is None and len(self._kept) >= _MOST_KEPT:
            del self._kept[next(iter(self._kept))]  # the one that changed longest ago
        self._kept[symbol] = _Kept(stored)
        return stored

    def _held_sec(self, found: Stored, kept: Stored) -> float:
        """Return for how long `kept` is answered in place of `found`, 0 if `found` does not fall behind it."""
        if found.order is None or kept.order is None:
            return 0.0
        (epoch, offset, updated), (kept_epoch, kept_offset, kept_updated) = found.order, kept.order
        if epoch > kept_epoch:
            return self._catch_up_sec if offset < kept_offset else 0.0
        behind = (epoch, offset, updated) < (kept_epoch, kept_offset, kept_updated)
        return self._forget_sec if behind else 0.0
