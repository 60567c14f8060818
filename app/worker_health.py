"""What keeps a worker from doing its work, each in one line, from what was seen within the last seconds.

A problem is either *blocking*, so that the worker is not ready, or it is something a person must look at while the
worker goes on.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Literal, NamedTuple, get_args

from agents.admission import Admission
from agents.checkpoints import Checkpoints
from agents.dead_letters import DeadLetters
from agents.owned import Owned
from agents.ownership import Ownership
from agents.repeats import Repeats
from agents.reports import Reports
from app import telemetry
from app.leave_on_death import LeaveOnDeath
from app.source import Source
from app.stores.redis import RedisReportStore
from app.topic_changes import TopicChanges
from app.transport import BatchApp
from tables.follower import Follower

_STUCK_SEC: Final = 5.0
_REFUSED_SEC: Final = 10.0
_DEAD_LETTERS_SEC: Final = 60.0
_TAKEOVER_SEC: Final = 15.0
_WRONG_CLOCK_SEC: Final = 2.0
_NAMED: Final = 5

Kind = Literal[
    "redis",
    "snapshots",
    "group",
    "leave_on_death",
    "changelog",
    "events",
    "dead_letters",
    "symbols",
    "admission",
    "repeats",
    "clock",
]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


class Problem(NamedTuple):
    """One line for a person about a `kind` of trouble; `blocking` if the worker does not do all of its work."""

    kind: Kind
    text: str
    blocking: bool = True


class WorkerHealth:
    """Looks at the parts of a worker."""

    def __init__(
        self,
        app: BatchApp,
        owned: Owned,
        store: RedisReportStore,
        ownership: Ownership,
        reports: Reports,
        checkpoints: Checkpoints,
        follower: Follower,
        source: Source,
        dead_letters: DeadLetters,
        admission: Admission,
        leaver: LeaveOnDeath,
        repeats: Repeats,
        topic_changes: TopicChanges,
        snapshot_sec: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._owned = owned
        self._store = store
        self._ownership = ownership
        self._reports = reports
        self._checkpoints = checkpoints
        self._follower = follower
        self._source = source
        self._dead_letters = dead_letters
        self._admission = admission
        self._leaver = leaver
        self._repeats = repeats
        self._topic_changes = topic_changes
        self._late_sec = _STUCK_SEC + snapshot_sec
        self._monotonic = monotonic
        self._refused_since: float | None = None
        self._rebalancing_since: float | None = None

    def problems(self) -> list[Problem]:
        """Return what is wrong now."""
        now = self._monotonic()
        return [
            *self._redis(),
            *self._clock(),
            *self._snapshots(now),
            *self._group(now),
            *self._changelog(now),
            *self._events(now),
            *self._symbols(),
        ]

    def look(self) -> None:
        """Note for how long things have been as they are, and tell Prometheus; once a second or so."""
        now = self._monotonic()
        self._refused_since = (self._refused_since or now) if self._all_refused() else None
        self._rebalancing_since = (self._rebalancing_since or now) if self._app.rebalancing else None
        self._source.note_progress(now)
        self._repeats.look()
        kinds = {each.kind for each in self.problems()}
        for kind in KINDS:
            telemetry.PROBLEMS.labels(kind).set(kind in kinds)

    def hopeless(self) -> str | None:
        """Return why the worker had better end, `None` if it is of use."""
        if self._refused_since is not None and self._monotonic() - self._refused_since > _REFUSED_SEC:
            return (
                f"every report has been refused for {_REFUSED_SEC:.0f} s, and the group does not say that they are ours"
            )
        return None

    def _all_refused(self) -> bool:
        symbols = self._owned.symbols.values()
        return bool(symbols) and all(symbol.fenced and symbol.epoch is not None for symbol in symbols)

    def _redis(self) -> Iterator[Problem]:
        if self._ownership.store_away or self._reports.store_away:
            yield Problem(
                "redis", ": ".join(filter(None, ("Redis does not take epochs or reports", self._store.problem)))
            )

    def _clock(self) -> Iterator[Problem]:
        ahead_sec = self._store.clock.host_ahead_sec()
        if abs(ahead_sec) > _WRONG_CLOCK_SEC:
            side = "ahead of" if ahead_sec > 0 else "behind"
            yield Problem("clock", f"this host's clock is {abs(ahead_sec):.1f} s {side} Redis'", blocking=False)

    def _snapshots(self, now: float) -> Iterator[Problem]:
        late = {
            name: now - symbol.failing_since
            for name, symbol in self._owned.symbols.items()
            if symbol.failing_since is not None and now - symbol.failing_since > self._late_sec
        }
        if late:
            yield Problem(
                "snapshots", f"Kafka has not taken a snapshot of {_named(late)} for {max(late.values()):.0f} s"
            )
        waited = now - self._checkpoints.completed_at
        if waited > self._late_sec:
            yield Problem("snapshots", f"Kafka has not taken a snapshot or a commit for {waited:.0f} s")

    def _group(self, now: float) -> Iterator[Problem]:
        if self._app.consumer.refused is not None:
            yield Problem("group", self._app.consumer.refused)
        if not self._app.consumer.in_touch:
            yield Problem("group", "Kafka's group coordinator does not answer")
        refused_at = self._app.consumer.commit_failing_since
        if refused_at is not None and now - refused_at > _STUCK_SEC:
            yield Problem("group", f"Kafka's group has not taken a commit for {now - refused_at:.0f} s")
        if self._rebalancing_since is not None and now - self._rebalancing_since > _TAKEOVER_SEC:
            yield Problem("group", f"a takeover is under way for {now - self._rebalancing_since:.0f} s")
        if not self._leaver.alive:
            yield Problem("leave_on_death", "nobody would leave the group for this worker if it died", blocking=False)

    def _changelog(self, now: float) -> Iterator[Problem]:
        if self._follower.failure is not None:
            yield Problem("changelog", self._follower.failure)
        elif now - self._follower.in_touch_at > _STUCK_SEC and self._owned.partitions:
            yield Problem("changelog", f"the changelog has not been read for {now - self._follower.in_touch_at:.0f} s")

    def _events(self, now: float) -> Iterator[Problem]:
        if self._topic_changes.missing is not None:
            yield Problem("events", f"Kafka does not have what we need: {self._topic_changes.missing}")
        if self._app.consumer.forbidden:
            yield Problem("events", "Kafka does not let us read events: our user lacks the right Read")
        for partition, since in self._source.standing_still(now, _STUCK_SEC):
            yield Problem(
                "events", f"events of partition {partition} wait, and none has been applied for {since:.0f} s"
            )
        reasons = Counter(self._dead_letters.since(now - _DEAD_LETTERS_SEC))
        if reasons:
            said = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
            yield Problem(
                "dead_letters", f"messages went to the dead-letter topic within a minute: {said}", blocking=False
            )
        lost = self._dead_letters.lost_since(now - _DEAD_LETTERS_SEC)
        if lost:
            yield Problem(
                "dead_letters",
                f"{len(lost)} unusable messages have no dead letter within a minute: {lost[-1]}",
                blocking=False,
            )
        waiting = self._dead_letters.waiting_since()
        if waiting is not None and now - waiting > _STUCK_SEC:
            yield Problem("dead_letters", f"Kafka has not taken a dead letter for {now - waiting:.0f} s")

    def _symbols(self) -> Iterator[Problem]:
        refused = [name for name, symbol in self._owned.symbols.items() if symbol.fenced]
        if refused:
            yield Problem(
                "symbols", f"reports of {_named(refused)} are refused: a newer writer exists, or epochs are used up"
            )
        turned_away = self._admission.refused()
        if turned_away:
            why = next(reversed(turned_away.values()))
            yield Problem(
                "admission",
                f"names were refused within a minute: {_named(turned_away)}: {why}",
                blocking=False,
            )
        twice = self._repeats.lasting()
        if twice:
            lasting = f"events of {_named(twice)} have come twice for {max(twice.values()):.0f} s"
            yield Problem("repeats", f"{lasting}: do two producers write them?", blocking=False)


def _named(names: Iterable[str]) -> str:
    every = sorted(names)
    more = f" and {len(every) - _NAMED} more" if len(every) > _NAMED else ""
    return ", ".join(every[:_NAMED]) + more
