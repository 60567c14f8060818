"""What a worker owns: the engines of its symbols, and which offsets are safely behind snapshots.

This is bookkeeping without IO, so that its promise can be tested to exhaustion: an offset is called
committable only if every event at or below it is in a snapshot that the changelog has acknowledged, in the
dead-letter topic, or was skipped because it already was.
"""

import secrets
from dataclasses import dataclass, field
from math import inf
from typing import Final

from app.membership import Membership
from app.microstructure.engine import SlowSections, SymbolEngine
from app.topic_ids import LogId
from tables.records import Key, Writer

OWNER: Final = secrets.token_hex(4)
"""A word for this process."""


@dataclass(slots=True, eq=False)
class OwnedSymbol:
    """One symbol on this worker.

    Attributes:
        engine: its state.
        partition: where its events come from.
        table_epoch: newest epoch found in the table, 0 if none.
        epoch: our writer epoch, `None` until it is taken.
        fenced: a newer writer is known; nothing may be written any more.
        arrived_ns: monotonic time at which the event with the newest time arrived.
        newest: event time of that event.
        heard_ns: monotonic time at which an event came last, 0 before the first.
        since_ns: monotonic time at which the symbol was taken over, 0 if it was not.
        admitted_ns: monotonic time at which this worker heard of it first, 0 if it was taken over.
        uncovered: first applied offset that no acknowledged snapshot covers, `None` if all are covered.
        applied_since: first offset applied since the snapshot that is on its way.
        epoch_saved: a snapshot under `epoch` is in the table.
        writer: writes its snapshots under `epoch`.
        saved: offset of the newest snapshot that the table is known to have, -1 if none.
        covered: offset up to which that snapshot, and nothing else, holds every event of the symbol.
        stale_keys: keys in the table that nobody needs once our first snapshot is safe.
        snapshot_at: monotonic seconds of the last snapshot.
        failing_since: monotonic seconds since when no snapshot has reached the table, `None` while they do.
        publish_from: offset of the predecessor's last report; ours wait until the replay has reached it.
        publish_anew: do not wait for the predecessor's last report.
        reported: a report of ours was written.
        updated_ns: wall time of the last report, ours or the predecessor's; that of the next is not before it.
        slow: liquidity and anomalies of the last slow cycle.
        slow_due_ns: monotonic time at which the next one is due.
    """

    engine: SymbolEngine
    partition: int
    table_epoch: int = 0
    epoch: int | None = None
    fenced: bool = False
    arrived_ns: int = 0
    newest: int = field(init=False)
    heard_ns: int = 0
    since_ns: int = 0
    admitted_ns: int = 0
    uncovered: int | None = None
    applied_since: int | None = None
    epoch_saved: bool = False
    writer: Writer = field(default_factory=lambda: Writer(OWNER))
    saved: int = -1
    covered: int = -1
    stale_keys: set[bytes] = field(default_factory=set)
    snapshot_at: float = -inf
    failing_since: float | None = None
    publish_from: int = -1
    publish_anew: bool = False
    reported: bool = False
    updated_ns: int = 0
    slow: SlowSections | None = None
    slow_due_ns: int = 0

    def __post_init__(self) -> None:
        self.newest = self.engine.ts_event

    @property
    def needs_snapshot(self) -> bool:
        """Whether there is something that the table does not have yet, and we may write it."""
        return self.may_save and (self.uncovered is not None or not self.epoch_saved)

    @property
    def may_save(self) -> bool:
        """Whether there is a state that we may write to the table."""
        return self.epoch is not None and not self.fenced and self.engine.offset >= 0

    @property
    def may_publish(self) -> bool:
        """Whether there is something to report that readers have not seen newer."""
        if self.epoch is None or self.fenced or self.engine.offset < 0:
            return False
        return self.engine.offset >= self.publish_from

    def arrived(self, now_ns: int) -> None:
        """Note that events came at `now_ns`: only those that move the newest event time say that the market goes on."""
        self.heard_ns = now_ns
        if self.engine.ts_event != self.newest:
            self.newest, self.arrived_ns = self.engine.ts_event, now_ns

    def applied(self, offset: int) -> None:
        """Note that the engine took the event at `offset` into account."""
        if self.uncovered is None:
            self.uncovered = offset
        if self.applied_since is None:
            self.applied_since = offset

    def renew(self) -> None:
        """Let a new epoch be taken: the symbol is ours, but under the old one we are not heard any more."""
        self.table_epoch = max(self.table_epoch, self.epoch or 0)
        if self.epoch is not None and self.epoch_saved:
            self.stale_keys.add(Key(self.engine.symbol, self.epoch, self.writer.owner).encode())
        self.epoch, self.fenced, self.epoch_saved, self.reported = None, False, False, False
        self.writer = Writer(self.writer.owner)

    @property
    def is_saved(self) -> bool:
        """Whether all that is known of it is in the table, under our epoch."""
        return self.epoch_saved and not self.fenced and self.uncovered is None

    def snapshot_taken(self) -> None:
        """Note that a snapshot left the engine; only events from here on are not in it."""
        self.applied_since = None

    def snapshot_acknowledged(self, offset: int, covered: int) -> None:
        """Note that the changelog has the last snapshot: of the state at `offset`, covering the log to `covered`."""
        self.uncovered = self.applied_since
        self.epoch_saved = True
        self.saved, self.covered = offset, covered
        self.failing_since = None

    def as_of(self, now_ns: int) -> int:
        """Return the event time that corresponds to monotonic `now_ns`."""
        return self.engine.ts_event + max(0, now_ns - self.arrived_ns)


@dataclass(slots=True)
class PartitionProgress:
    """How far one partition was processed.

    Attributes:
        position: the last offset that was, or the one before that with which reading begins.
        log: which log that is, `None` where the brokers do not say.
        dead_letters: offsets on their way to the dead-letter topic.
        refused: first offset of the last records that were not the next, until the next ones come.
        sparse: the log is known to have holes.
        told: the offset up to which the table has been told that everything is covered.
        told_at: monotonic seconds at which it was.
    """

    position: int = -1
    log: LogId | None = None
    dead_letters: set[int] = field(default_factory=set)
    refused: int | None = None
    sparse: bool = False
    told: int = -1
    told_at: float = -inf


class Owned:
    """The symbols and partitions of this worker.

    Attributes:
        membership: who we were in the group when these became ours.
        owner: a word for this worker in the keys of what it writes to the table.
        handed_over: a rebalance is under way, and what is ours will be known after it: nothing may be committed.
    """

    def __init__(self, owner: str = OWNER) -> None:
        self.owner = owner
        self.membership: Membership | None = None
        self.handed_over = False
        self.symbols: dict[str, OwnedSymbol] = {}
        self.partitions: dict[int, PartitionProgress] = {}

    def of(self, partition: int) -> list[OwnedSymbol]:
        """Return the symbols of a partition."""
        return [symbol for symbol in self.symbols.values() if symbol.partition == partition]

    def drop_partition(self, partition: int) -> list[str]:
        """Forget a partition and its symbols; return their names."""
        self.partitions.pop(partition, None)
        names = [name for name, symbol in self.symbols.items() if symbol.partition == partition]
        for name in names:
            del self.symbols[name]
        return names

    def committable(self) -> dict[int, int]:
        """Return by partition the next offset to read after a crash, where anything was processed."""
        safe: dict[int, int] = {}
        for partition, progress in self.partitions.items():
            if progress.position < 0:
                continue
            waiting = [s.uncovered for s in self.of(partition) if s.uncovered is not None]
            safe[partition] = min([progress.position + 1, *waiting, *progress.dead_letters])
        return safe
