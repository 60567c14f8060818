"""Taking partitions over and giving them up.

After a rebalance, when the local copy of the changelog is up to date and before any record flows, `assign` brings the
engines in line with the assignment: symbols of partitions that went are dropped, symbols of partitions that came go on
from the newest state known (`agents.restoring`), and symbols that stayed keep their hot state. It answers from which
offset each partition must be read so that nobody misses an event. Then every symbol that has none takes a writer epoch.
"""

import asyncio
import itertools
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from itertools import islice
from typing import Any, Final, NamedTuple

import msgspec
from aiokafka.errors import KafkaError

from agents.owned import Owned, OwnedSymbol, PartitionProgress
from agents.restoring import PartitionLog, Standing, is_of, standing, start_of
from app import telemetry
from app.membership import Membership
from app.microstructure.engine import STATE_VERSION, EngineParams, SymbolEngine
from app.stores.base import EPOCH_WARN, ReportStore, StoreUnavailableError
from app.topic_ids import LogId
from app.undecodable import UNDECODABLE
from tables.records import Key, SymbolRecords, Writer, taken

logger = logging.getLogger(__name__)

Load = Callable[[int, int, LogId | None], Mapping[str, SymbolRecords]]
"""Returns what the table has of a partition, for a worker of a state version that reads a log."""
Write = Callable[[int, Mapping[bytes, bytes]], Awaitable[Any]]
_RECORD_SEC: Final = 2.0
EPOCHS_AT_ONCE: Final = 200
"""The time limit is for each answer of Redis, one that comes too late has used epochs up, and reports wait for it."""
# A predecessor's report is younger than our question: one dated far beyond the store's clock, by which we date too, is
# from before that was set back, or by a worker of a version that had another.
_FAR_AHEAD_NS: Final = 60 * 10**9
_NANOS_PER_MS: Final = 10**6


class Ownership:
    """Keeps `owned` in line with the partitions of this worker.

    Attributes:
        store_away: epochs are wanted and could not be taken.
    """

    def __init__(
        self,
        owned: Owned,
        params: EngineParams,
        load: Load,
        write: Write,
        store: ReportStore,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._owned = owned
        self._params = params
        self._load = load
        self._write = write
        self._store = store
        self._monotonic_ns = monotonic_ns
        self._wall_ns = wall_ns
        self._taking = asyncio.Lock()
        self.store_away = False

    def stays(self, partition: int, membership: Membership, here: PartitionLog) -> bool:
        """Whether `partition` was ours all the time, and what we hold of it is of the log that it is now."""
        progress = self._owned.partitions.get(partition)
        if progress is None or not membership.follows(self._owned.membership):
            return False
        seen = max((symbol.engine.offset for symbol in self._owned.of(partition)), default=-1)
        return is_of(progress.log, here) and here.has(max(seen, progress.position))

    def look(self, partition: int, here: PartitionLog) -> Mapping[str, SymbolRecords]:
        """Return what the table has of `partition` now."""
        return self._load(partition, STATE_VERSION, here.log)

    def assign(
        self,
        partitions: Mapping[int, PartitionLog],
        membership: Membership,
        found: Mapping[int, Mapping[str, SymbolRecords]] | None = None,
    ) -> dict[int, int]:
        """Own exactly `partitions`, each symbol with the newest state known; return where to read each from.

        Args:
            partitions: what the group gave us, with what Kafka says of each now.
            membership: who we are in the group now. If it follows what we were before, nobody else can have had
                what stays with us. If not, another worker may have had it, and all of it is taken over again.
            found: what the table has of a partition, if somebody has just looked.
        """
        began, restored = time.monotonic(), 0
        stay = {each for each, here in partitions.items() if self.stays(each, membership, here)}
        self._owned.membership, self._owned.handed_over = membership, False
        for partition in set(self._owned.partitions) - partitions.keys():
            gone = self._owned.drop_partition(partition)
            logger.info("partition %d went, with %s", partition, ", ".join(gone) or "no symbol")
        starts: dict[int, int] = {}
        for partition, here in sorted(partitions.items()):
            if partition in stay:
                starts[partition] = max(here.begin, self._owned.partitions[partition].position + 1)
                self._note_expired(partition, here)
            else:
                records = found[partition] if found and partition in found else self.look(partition, here)
                starts[partition], count = self._take_over(partition, here, records)
                restored += count
        telemetry.RESTORE_SECONDS.observe(time.monotonic() - began)
        telemetry.RESTORED_SYMBOLS.inc(restored)
        telemetry.SYMBOLS_ASSIGNED.set(len(self._owned.symbols))
        return starts

    def _take_over(self, partition: int, here: PartitionLog, found: Mapping[str, SymbolRecords]) -> tuple[int, int]:
        """Make the symbols of a partition our own; return where to read it from, and how many states there are."""
        before = self._owned.partitions.get(partition, PartitionProgress())
        same = is_of(before.log, here)
        known = {symbol.engine.symbol: symbol for symbol in self._owned.of(partition)}
        decided: dict[str, Standing] = {}
        for name in known.keys() | found.keys():
            mine = known.get(name)
            decided[name] = standing(found.get(name), mine if same else None, before.position, here, self._restored)
            if mine is not None and not same and decided[name].engine is None:
                decided[name] = decided[name]._replace(hole="other_log", renumbered=True)
        start = start_of(decided.values(), here, max((each.told for each in found.values()), default=-1))
        self._owned.partitions[partition] = PartitionProgress(start - 1, here.log, before.dead_letters, told=start - 1)
        for name, each in decided.items():
            self._settle(name, partition, each, found.get(name), known.get(name), start)
        return start, sum(each.engine is not None for each in decided.values())

    def _settle(
        self,
        name: str,
        partition: int,
        here: Standing,
        records: SymbolRecords | None,
        mine: OwnedSymbol | None,
        start: int,
    ) -> None:
        """Let `name` go on as was decided, and say so."""
        engine = here.engine or SymbolEngine(name, self._params)
        table_epoch = max(records.epoch if records else 0, mine.table_epoch if mine else 0, (mine and mine.epoch) or 0)
        covered = here.covered if here.covered is not None else start - 1
        _tell(engine, here, covered)
        if here.hole is not None:
            engine.missed(here.hole)
        keys = set(records.keys) | records.foreign.keys() if records is not None else set()
        self._owned.symbols[name] = OwnedSymbol(
            engine,
            partition,
            table_epoch=table_epoch,
            arrived_ns=mine.arrived_ns if mine is not None and here.kept else self._monotonic_ns(),
            heard_ns=mine.heard_ns if mine is not None and here.kept else 0,
            since_ns=mine.since_ns if mine is not None and here.kept else self._monotonic_ns(),
            admitted_ns=mine.admitted_ns if mine is not None and here.kept else 0,
            writer=Writer(self._owned.owner),
            uncovered=here.saved + 1 if engine.offset > here.saved else None,
            saved=here.saved,
            covered=covered,
            stale_keys=keys - here.keep,
            # What readers have seen counts the offsets of a log that is gone.
            publish_anew=here.renumbered,
            updated_ns=mine.updated_ns if mine is not None else 0,
        )

    def _restored(self, state: bytes) -> SymbolEngine:
        return SymbolEngine.restore(state, self._params)

    def _note_expired(self, partition: int, here: PartitionLog) -> None:
        """Let the symbols of a partition that stays say what the topic lost before they could read it."""
        progress = self._owned.partitions[partition]
        if progress.position + 1 >= here.begin:
            return
        telemetry.ERRORS.labels("ownership", "events_expired").inc()
        logger.error("offsets %d to %d of partition %d are gone", progress.position + 1, here.begin - 1, partition)
        progress.position = here.begin - 1
        for symbol in self._owned.of(partition):
            symbol.engine.missed("events_expired")

    async def take_epochs(self) -> None:
        """Take a writer epoch for symbols that have none yet, `EPOCHS_AT_ONCE`; again later if the store is away."""
        async with self._taking:  # two epochs for one symbol, and the first would be refused
            waiting = ((name, s) for name, s in self._owned.symbols.items() if s.epoch is None and not s.fenced)
            await self._take_epochs(dict(islice(waiting, EPOCHS_AT_ONCE)))

    async def _take_epochs(self, waiting: Mapping[str, OwnedSymbol]) -> None:
        if not waiting:
            self.store_away = False
            return
        try:
            epochs = await self._store.take_epochs({name: symbol.table_epoch for name, symbol in waiting.items()})
            await self._record(waiting, epochs)
            # Read after the epoch was taken: from then on the predecessor's reports are refused, so these are its last.
            reports = await self._store.read_many(epochs)
            seen = {name: published(report) for name, report in reports.items()}
        except StoreUnavailableError as error:
            telemetry.ERRORS.labels("store", error.kind).inc()
            self.store_away = True
            logger.warning("no epochs for %d symbols: %s", len(waiting), error)
            return
        except (TimeoutError, KafkaError) as error:
            telemetry.ERRORS.labels("ownership", "epoch_not_recorded").inc()
            logger.warning("epochs of %d symbols did not reach the changelog: %r", len(waiting), error)
            return
        self.store_away = False
        for name, symbol in waiting.items():
            if self._owned.symbols.get(name) is symbol and symbol.epoch is None:  # else it went while Redis answered
                self._grant(symbol, epochs.get(name), seen.get(name, NOTHING))
        telemetry.SYMBOLS_ASSIGNED.set(len(self._owned.symbols))

    async def _record(self, waiting: Mapping[str, OwnedSymbol], epochs: Mapping[str, int]) -> None:
        """Put epochs into the table before anything is written under them, so that an emptied Redis repeats none."""
        values: dict[int, dict[bytes, bytes]] = {}
        for name, symbol in waiting.items():
            if name in epochs:
                values.setdefault(symbol.partition, {}).update(self._taken(symbol, epochs[name]))
        await asyncio.wait_for(asyncio.gather(*itertools.starmap(self._write, values.items())), _RECORD_SEC)

    def _grant(self, symbol: OwnedSymbol, epoch: int | None, last: "Published") -> None:
        name = symbol.engine.symbol
        if epoch is None:
            symbol.fenced = True
            telemetry.ERRORS.labels("store", "epoch_exhausted").inc()
            logger.error("writer epoch is at its limit: not published any more", extra={"symbol": name})
            return
        if epoch >= EPOCH_WARN:
            telemetry.ERRORS.labels("store", "epoch_high").inc()
            logger.warning("writer epoch %d nears its limit", epoch, extra={"symbol": name})
        symbol.epoch, symbol.publish_from = epoch, -1 if symbol.publish_anew else last.offset
        symbol.updated_ns = max(symbol.updated_ns, self._believed(last, name))
        logger.info("writer epoch %d", epoch, extra={"symbol": name})

    def _believed(self, last: "Published", name: str) -> int:
        """Return the time of the predecessor's last report, 0 if it is too far ahead to be followed."""
        ahead_ns = last.updated_ns - self._wall_ns()
        if ahead_ns <= _FAR_AHEAD_NS:
            return last.updated_ns
        telemetry.ERRORS.labels("ownership", "clock_ahead").inc()
        logger.warning(
            "the last report is dated %.1f s ahead of the store's clock, by which those from now on are dated",
            ahead_ns / 1e9,
            extra={"symbol": name},
        )
        return 0

    def _taken(self, symbol: OwnedSymbol, epoch: int) -> dict[bytes, bytes]:
        progress = self._owned.partitions.get(symbol.partition)
        log = progress.log if progress is not None else None
        covers = symbol.covered if symbol.uncovered is None else min(symbol.covered, symbol.uncovered - 1)
        return taken(Key(symbol.engine.symbol, epoch, symbol.writer.owner), STATE_VERSION, log, covers)


def _tell(engine: SymbolEngine, here: Standing, covered: int) -> None:
    """Log where a symbol goes on; count and log as an error whatever is missing."""
    fields = _fields(engine)
    if here.hole is not None:
        telemetry.ERRORS.labels("ownership", here.hole).inc()
        going = f"goes on at offset {engine.offset} without them" if here.engine is not None else "begins empty"
        logger.error(
            "%s, %s%s", here.hole.replace("_", " "), going, f": {here.error}" if here.error else "", extra=fields
        )
    elif here.error is not None:
        telemetry.ERRORS.labels("ownership", "bad_snapshot").inc()
        logger.error("restored an older state, at offset %d: %s", engine.offset, here.error, extra=fields)
    elif here.engine is None:
        logger.info("begins at offset %d", covered + 1, extra=fields)
    elif here.kept:
        logger.info("kept at offset %d, table %d", engine.offset, here.saved, extra=fields)
    else:
        logger.info("restored at offset %d, which covers %d", engine.offset, covered, extra=fields)


def _fields(engine: SymbolEngine) -> dict[str, object]:
    """Return the `extra` of a log line about an engine: its symbol, and how far its newest event is behind."""
    lag_ms = max(0, time.time_ns() - engine.ts_event) // 1_000_000 if engine.offset >= 0 else None
    return {"symbol": engine.symbol, "lag_ms": lag_ms}


class Published(NamedTuple):
    """What the last report of a symbol stands for: an offset, -1 if there is none, and a wall time, 0 if none."""

    offset: int
    updated_ns: int


NOTHING: Final = Published(-1, 0)


class _Provenance(msgspec.Struct):
    offset: int


class _Report(msgspec.Struct):
    provenance: _Provenance
    updated: Any = msgspec.field(default=None, name="updatedAt")


_decode_report = msgspec.json.Decoder(_Report).decode


def published(report: bytes | None) -> Published:
    """Return what a report stands for, `NOTHING` for none or for something that is no report."""
    if report is None:
        return NOTHING
    try:
        found = _decode_report(report)
    except UNDECODABLE:
        return NOTHING
    updated = found.updated
    return Published(found.provenance.offset, updated * _NANOS_PER_MS if type(updated) is int else 0)
