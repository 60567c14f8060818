"""What a worker owns: the engines of its symbols, and which offsets are safely behind snapshots.

This is bookkeeping without IO, so that its promise can be tested to exhaustion: an offset is called
committable only if every event at or below it is in a snapshot that the changelog has acknowledged, in the
dead-letter topic, or was skipped because it already was.
"""

from dataclasses import dataclass, field
from math import inf

from app.membership import Membership
from app.microstructure.compact import Compactor
from app.microstructure.engine import SlowSections, SymbolEngine
from tables.parts import Ledger


@dataclass(slots=True, eq=False)
class OwnedSymbol:
    """One symbol on this worker.

    Attributes:
        engine: its state.
        partition: where its events come from.
        table_epoch: newest epoch found in the table, 0 if none.
        epoch: our writer epoch, `None` until it is taken.
        fenced: a newer writer is known; nothing may be written any more.
        arrived_ns: monotonic time at which the newest event arrived.
        uncovered: first applied offset that no acknowledged snapshot covers, `None` if all are covered.
        applied_since: first offset applied since the snapshot that is on its way.
        epoch_saved: a snapshot under `epoch` is in the table.
        compactor: splits its states for the table.
        ledger: which parts of them the table has.
        stale_keys: keys that others left in the table, to be deleted behind our first snapshot.
        snapshot_at: monotonic seconds of the last snapshot.
        publish_from: offset of the predecessor's last report; ours wait until the replay has reached it.
        publish_anew: do not wait for the predecessor's last report.
        reported: a report of ours was written.
        slow: liquidity and anomalies of the last slow cycle.
        slow_due_ns: monotonic time at which the next one is due.
    """

    engine: SymbolEngine
    partition: int
    table_epoch: int = 0
    epoch: int | None = None
    fenced: bool = False
    arrived_ns: int = 0
    uncovered: int | None = None
    applied_since: int | None = None
    epoch_saved: bool = False
    compactor: Compactor = field(default_factory=Compactor)
    ledger: Ledger = field(default_factory=Ledger)
    stale_keys: list[bytes] = field(default_factory=list)
    snapshot_at: float = -inf
    publish_from: int = -1
    publish_anew: bool = False
    reported: bool = False
    slow: SlowSections | None = None
    slow_due_ns: int = 0

    @property
    def needs_snapshot(self) -> bool:
        """Whether there is something that the table does not have yet, and we may write it."""
        if self.epoch is None or self.fenced:
            return False
        return self.uncovered is not None or not self.epoch_saved

    @property
    def may_publish(self) -> bool:
        """Whether there is something to report that readers have not seen newer."""
        if self.epoch is None or self.fenced or self.engine.offset < 0:
            return False
        return self.engine.offset >= self.publish_from

    def applied(self, offset: int, now_ns: int) -> None:
        """Note that the engine took the event at `offset` into account."""
        self.arrived_ns = now_ns
        if self.uncovered is None:
            self.uncovered = offset
        if self.applied_since is None:
            self.applied_since = offset

    def renew(self) -> None:
        """Let a new epoch be taken: the symbol is ours, but under the old one we are not heard any more."""
        self.table_epoch = max(self.table_epoch, self.epoch or 0)
        self.epoch, self.fenced, self.epoch_saved, self.reported = None, False, False, False
        self.compactor, self.ledger = Compactor(), Ledger()

    def snapshot_taken(self) -> None:
        """Note that a snapshot left the engine; only events from here on are not in it."""
        self.applied_since = None

    def snapshot_acknowledged(self) -> None:
        """Note that the changelog has the last snapshot."""
        self.uncovered = self.applied_since
        self.epoch_saved = True

    def as_of(self, now_ns: int) -> int:
        """Return the event time that corresponds to monotonic `now_ns`."""
        return self.engine.ts_event + max(0, now_ns - self.arrived_ns)


@dataclass(slots=True)
class PartitionProgress:
    """How far one partition was processed; `dead_letters` are offsets on their way to that topic."""

    position: int = -1
    dead_letters: set[int] = field(default_factory=set)


class Owned:
    """The symbols and partitions of this worker.

    Attributes:
        membership: who we were in the group when these became ours.
        handed_over: a rebalance is under way, and what is ours will be known after it: nothing may be committed.
    """

    def __init__(self) -> None:
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
