"""What a worker makes of a symbol when its partition comes: the state to go on from, and what must be said about it.

Pure: records and what is hot go in, a decision comes out. The rules, in this order:

1. What belongs to another log of events is never used.
2. The newest true state wins, our own or the table's: both come from the log.
3. An older snapshot costs a replay, not events: reading begins behind what it covers.
4. What was written and is not there is `missing`: the caller reads the changelog again before it believes that.
5. Only then does a symbol begin empty, and its reports say why. An engine that began so deletes nobody's snapshot.
"""

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from agents.owned import OwnedSymbol
from app.microstructure.engine import StateError, SymbolEngine
from app.microstructure.report import HoleReason
from app.topic_ids import LogId
from tables.records import Candidate, SymbolRecords, same_log

REPLAY_LIMIT: Final = 2_000_000
"""Offsets behind the group's from which a state that another version's owner has long overtaken is replayed."""

Restore = Callable[[bytes], SymbolEngine]
"""Makes an engine of a snapshot. Raises StateError."""


class PartitionLog(NamedTuple):
    """What Kafka says of a partition of events: which log it is, its first and its next offset, and the group's."""

    log: LogId | None
    begin: int
    end: int
    committed: int | None

    def has(self, offset: int) -> bool:
        """Whether `offset` can be of this log: it does not lie beyond its end."""
        return offset < self.end


class Standing(NamedTuple):
    """Where a symbol goes on.

    Attributes:
        engine: its state, `None` if it begins empty.
        covered: every event up to this offset is in it, or was not the symbol's; `None`: nobody knows.
        saved: offset of the snapshot that the table has of it, -1 if none.
        kept: the state is our own.
        hole: why events are missing from it, `None` if none are.
        renumbered: what readers have seen counts the offsets of another log.
        keep: keys of the table that must stay although our own snapshots do not need them.
        error: what is to be said of it, besides.
    """

    engine: SymbolEngine | None
    covered: int | None
    saved: int
    kept: bool = False
    hole: HoleReason | None = None
    renumbered: bool = False
    keep: frozenset[bytes] = frozenset()
    error: str | None = None


def standing(
    records: SymbolRecords | None, mine: OwnedSymbol | None, position: int, here: PartitionLog, restore: Restore
) -> Standing:
    """Decide where a symbol goes on.

    Args:
        records: what the table has of it, read for the log of `here`.
        mine: the symbol as we hold it, if its state is of a log that may be this one.
        position: the last offset that `mine` has seen of its partition.
        here: the partition.
        restore: makes an engine of a snapshot.
    """
    found, error = _newest(records, here, restore)
    beyond = mine is not None and not here.has(mine.engine.offset)
    saved = found.saved if found is not None else -1
    if mine is not None and not beyond and mine.engine.offset >= max(0, saved):
        kept = _kept(mine, position, saved)
        return kept._replace(keep=_replayable(records, here))
    if found is not None:
        return found._replace(keep=_replayable(records, here), error=error)
    return _empty(records, beyond, error)


def _kept(mine: OwnedSymbol, position: int, saved: int) -> Standing:
    return Standing(mine.engine, max(position, mine.engine.offset), saved, kept=True)


def _newest(records: SymbolRecords | None, here: PartitionLog, restore: Restore) -> tuple[Standing | None, str | None]:
    """Return the newest state in the table that can be used, and what went wrong with newer ones."""
    error: str | None = None
    for candidate in records.candidates if records is not None else ():
        if not here.has(candidate.offset):
            error = f"the snapshot at offset {candidate.offset} is of another log, which ends at {here.end} here"
            continue
        if records is not None and _overtaken(records, candidate, here):
            error = f"the snapshot at offset {candidate.offset} is too old to replay from"
            continue
        try:
            engine = restore(candidate.state)
        except StateError as bad:
            error = str(bad)
            continue
        hole: HoleReason | None = "events_expired" if candidate.covers + 1 < here.begin else None
        return Standing(engine, candidate.covers, candidate.offset, hole=hole), error
    return None, error


def _overtaken(records: SymbolRecords, candidate: Candidate, here: PartitionLog) -> bool:
    """Whether owners of another version have gone on for so long that a replay would keep everybody waiting."""
    if here.committed is None or not any(covers > candidate.covers for covers in records.foreign.values()):
        return False
    return here.committed - candidate.covers > REPLAY_LIMIT


def _empty(records: SymbolRecords | None, beyond: bool, error: str | None) -> Standing:
    if records is None:
        return Standing(None, None, -1, hole="other_log" if beyond else None, renumbered=beyond)
    # Nothing of what others wrote may go: one of them may be able to read it.
    keep = frozenset((*records.keys, *records.foreign))
    if records.missing:
        error = error or "a snapshot that was written is not in the changelog"
        return Standing(None, None, -1, hole="state_lost", keep=keep, error=error)
    if records.foreign:
        error = error or "there are only snapshots of another version"
        return Standing(None, None, -1, hole="state_unreadable", keep=keep, error=error)
    if records.other_log or beyond or records.candidates:
        error = error or "there are only snapshots of another log: the topic was made again"
        return Standing(None, None, -1, hole="other_log", renumbered=True, keep=keep, error=error)
    # An epoch was taken, and its owner went before the first snapshot: all of it is still to be read.
    return Standing(None, records.taken_at, -1)


def _replayable(records: SymbolRecords | None, here: PartitionLog) -> frozenset[bytes]:
    """Return the keys of another version's snapshots from which a worker of that version could still go on."""
    if records is None:
        return frozenset()
    return frozenset(key for key, covers in records.foreign.items() if covers + 1 >= here.begin and covers >= 0)


def start_of(standings: Iterable[Standing], here: PartitionLog, told: int) -> int:
    """Return the offset from which a partition must be read so that nobody misses an event.

    Events behind `told`, up to which the table says that all is covered (-1: it says nothing), may be of symbols of
    which it has no record yet. Where the group knows no offset either, nobody has covered anything.
    """
    needs = [each.covered + 1 for each in standings if each.covered is not None]
    if told >= 0:
        needs.append(told + 1)
    if here.committed is not None and here.has(here.committed - 1):
        needs.append(here.committed)
    elif told < 0:
        needs.append(here.begin)
    return max(here.begin, min(needs))


def is_of(log: LogId | None, here: PartitionLog) -> bool:
    """Whether what was read from `log` may be of this partition's log."""
    return same_log(log, here.log)
