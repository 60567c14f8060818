"""Which names become symbols.

Anyone who can write to the topic can make names up, and each costs a state, an epoch, snapshots and reports. So a name
must match what is allowed, and its partition must have room for it. Room is counted by partition: then a topic has a
ceiling, a worker has one of so many partitions, and a worker that takes partitions over never has to turn away a
symbol that another has admitted.

Of a name that is refused, one event a minute goes to the dead-letter topic; the others are counted. All of them are in
the events topic at the offsets that follow.
"""

import re
import time
from collections.abc import Callable, Iterable, Sequence
from fnmatch import translate
from typing import Final

from agents.owned import Owned
from app.microstructure.events import BadEventError

ANY: Final = ("*",)
ROOM: Final = 100
REMEMBERED_SEC: Final = 60.0
MOST_REMEMBERED: Final = 1000
_RECOUNT_SEC: Final = 1.0
_MOST_SHOWN: Final = 200


class NotAdmittedError(BadEventError):
    """The event's name is no symbol of ours; `known` if one of its events has gone aside within the minute."""

    def __init__(self, reason: str, detail: str, *, known: bool) -> None:
        super().__init__(reason, detail)
        self.known = known


class Admission:
    """Admits names that match one of the patterns `allowed`, at most `room` of them in each partition of `owned`."""

    def __init__(
        self,
        owned: Owned,
        allowed: Sequence[str] = ANY,
        room: int = ROOM,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._owned = owned
        self._allowed = ", ".join(allowed)[:_MOST_SHOWN]
        self._matches = re.compile("|".join(map(translate, allowed))).match
        self._room = room
        self._monotonic = monotonic
        self._full: dict[int, float] = {}
        self._pruned_at = -REMEMBERED_SEC
        self._refused: dict[str, tuple[float, str]] = {}

    def require(self, name: str, partition: int) -> None:
        """Return if `name` may become a symbol of `partition`. Raises NotAdmittedError."""
        if not self._matches(name):
            self._refuse(name, "symbol_not_allowed", f"WORKER_SYMBOLS does not allow {name}: {self._allowed}")
        if self._is_full(partition):
            what = f"partition {partition} has {self._room} symbols, as many as PARTITION_SYMBOLS allows"
            self._refuse(name, "too_many_symbols", what)

    def full(self) -> set[int]:
        """Return the partitions that had no room for a name within the last minute."""
        return set(_recent(self._full.items(), self._monotonic()))

    def refused(self) -> dict[str, str]:
        """Return why names were refused within the last minute; of some `MOST_REMEMBERED` of them."""
        now = self._monotonic()
        return {name: why for name, (at, why) in self._refused.items() if now - at <= REMEMBERED_SEC}

    def _is_full(self, partition: int) -> bool:
        now = self._monotonic()
        if now - self._full.get(partition, -REMEMBERED_SEC) <= _RECOUNT_SEC:
            return True  # to count takes longer than all else that becomes of such an event
        if len(self._owned.of(partition)) < self._room:
            return False
        self._full[partition] = now
        return True

    def _refuse(self, name: str, reason: str, detail: str) -> None:
        now = self._monotonic()
        at, _ = self._refused.get(name, (None, ""))
        known = at is not None and now - at <= REMEMBERED_SEC
        if not known:
            if len(self._refused) >= MOST_REMEMBERED and now - self._pruned_at > _RECOUNT_SEC:
                self._pruned_at = now
                self._refused = {each: seen for each, seen in self._refused.items() if now - seen[0] <= REMEMBERED_SEC}
            # Of more names than we can remember, nobody needs a letter each.
            known = len(self._refused) >= MOST_REMEMBERED
            if not known:
                self._refused[name] = now, detail
        raise NotAdmittedError(reason, detail, known=known)


def _recent(times: Iterable[tuple[int, float]], now: float) -> Iterable[int]:
    return (each for each, at in times if now - at <= REMEMBERED_SEC)
