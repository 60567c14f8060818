"""When may a symbol's book be believed? The rule that joins Binance's diff stream to its REST snapshot.

Binance sends changes of the book as diffs, each for a range of update ids, and the whole book only on
request. A book is true as long as the diffs after its snapshot are unbroken, so this machine takes both as
they arrive and says what to do. It holds no connection, clock or price: messages in, steps out.

| book    | message                                       | steps                                           |
|---------|-----------------------------------------------|-------------------------------------------------|
| unknown | diff                                          | none: it is kept, if it continues those kept    |
| unknown | snapshot older than the oldest diff kept      | `Fetch`: nothing joins the two                  |
| unknown | snapshot                                      | `Replace`, then `Apply` for each kept diff above |
| known   | diff with first id ≤ book id + 1 ≤ final id   | `Apply`                                         |
| known   | diff with final id ≤ book id                  | none: it says nothing new                       |
| known   | diff with first id > book id + 1              | `Unknown`, `Fetch`: diffs are missing           |
| any     | `lose`                                        | `Unknown`, and `Fetch` if none is under way      |
| any     | `stop`                                        | `Unknown`; a `Fetch` under way is to be ended    |
| unknown | `start`                                       | `Fetch`, the first time after an `Unknown`       |

`stop` is for a stream that has ended: a snapshot without a stream behind it would be out of date at once, so
none is asked for until `start`, and what a request of before brings is not taken.

A diff may begin at or below the book's id: quantities are absolute, so what it repeats it repeats rightly.
Binance's own procedure says the same (developers.binance.com, "How to manage a local order book correctly").

Update ids that stay behind for `BEHIND_LIMIT` diffs mean that the exchange counts anew. Without that rule
the book would stand still for ever while looking sound.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final, Protocol

BUFFER_LIMIT: Final = 1000  # diffs kept while waiting for a snapshot: 100 s at 100 ms each
IDS_BEHIND: Final = "ids_behind"  # the reason where diffs stay below for as long as the next says
BEHIND_LIMIT: Final = 20  # 2 s at 100 ms each; a snapshot is never that far ahead of the stream


class Diff(Protocol):
    """A change of the book for an unbroken range of update ids."""

    @property
    def first_update_id(self) -> int:
        """First id of the range."""

    @property
    def final_update_id(self) -> int:
        """Last id of the range."""


class Snapshot(Protocol):
    """The whole book."""

    @property
    def last_update_id(self) -> int:
        """The update that the snapshot contains last."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Tell everybody that the book is not known since `update_id`; `reason` is a short, fixed label."""

    reason: str
    update_id: int


@dataclass(frozen=True, slots=True)
class Fetch:
    """Ask the exchange for a snapshot and hand it to `on_snapshot`."""


@dataclass(frozen=True, slots=True)
class Replace[D: Diff, S: Snapshot]:
    """The book is now this snapshot; `continued_by` is the diff that is applied next, where there is one."""

    snapshot: S
    continued_by: D | None


@dataclass(frozen=True, slots=True)
class Apply[D: Diff]:
    """Change the book by this diff."""

    diff: D


type Step[D: Diff, S: Snapshot] = Unknown | Fetch | Replace[D, S] | Apply[D]


class BookSync[D: Diff, S: Snapshot]:
    """The state of one symbol's book; it begins unknown, and `start` asks for the first snapshot."""

    def __init__(self, buffer_limit: int = BUFFER_LIMIT) -> None:
        self._update_id: int | None = None
        self._last_known = 0
        self._fetching = False
        self._announced = False
        self._behind = 0
        # An unbroken run; the oldest go first, since a newer snapshot can do without them.
        self._kept: deque[D] = deque(maxlen=buffer_limit)

    @property
    def update_id(self) -> int | None:
        """The update at which the published book stands, `None` while it is not known."""
        return self._update_id

    @property
    def last_known(self) -> int:
        """The update at which the book stood when it was known last, 0 if it never was."""
        return self._last_known if self._update_id is None else self._update_id

    def start(self) -> list[Step[D, S]]:
        """Begin, now that the stream comes in; what it has brought since `stop` is kept."""
        steps: list[Step[D, S]] = [] if self._announced else [self._forget("start")]
        return steps + self._fetch()

    def stop(self, reason: str) -> list[Step[D, S]]:
        """Give the book up until `start`, because the stream has ended."""
        self._fetching = False
        self._kept.clear()
        return [self._forget(reason)]

    def lose(self, reason: str) -> list[Step[D, S]]:
        """Give the book up, for a cause that the ids do not show, and begin again."""
        self._kept.clear()
        return [self._forget(reason), *self._fetch()]

    def on_diff(self, diff: D) -> list[Step[D, S]]:
        """Take the next diff of the stream."""
        newest = self._newest
        if newest is not None and diff.final_update_id <= newest:
            self._behind += 1
            return self.lose(IDS_BEHIND) if self._behind >= BEHIND_LIMIT else []
        self._behind = 0
        if self._update_id is None:
            self._keep(diff)
            return []
        if diff.first_update_id > self._update_id + 1:
            steps = self.lose("gap")
            self._keep(diff)
            return steps
        self._update_id = diff.final_update_id
        return [Apply(diff)]

    def on_snapshot(self, snapshot: S) -> list[Step[D, S]]:
        """Take the snapshot that a `Fetch` asked for."""
        if not self._fetching:
            return []
        update_id = snapshot.last_update_id
        if self._kept and self._kept[0].first_update_id > update_id + 1:
            return [Fetch()]
        above = [diff for diff in self._kept if diff.final_update_id > update_id]
        steps: list[Step[D, S]] = [Replace(snapshot, above[0] if above else None)]
        steps += [Apply(diff) for diff in above]
        if above:
            update_id = above[-1].final_update_id
        self._kept.clear()
        self._fetching = False
        self._update_id = update_id
        return steps

    def _forget(self, reason: str) -> Unknown:
        if self._update_id is not None:
            self._last_known, self._update_id = self._update_id, None
        self._announced = True
        self._behind = 0
        return Unknown(reason, self._last_known)

    def _fetch(self) -> list[Step[D, S]]:
        if self._fetching:
            return []
        self._fetching = True
        return [Fetch()]

    @property
    def _newest(self) -> int | None:
        if self._kept:
            return self._kept[-1].final_update_id
        return self._update_id

    def _keep(self, diff: D) -> None:
        if self._kept and diff.first_update_id > self._kept[-1].final_update_id + 1:
            self._kept.clear()
        self._kept.append(diff)
