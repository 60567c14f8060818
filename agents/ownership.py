"""Taking partitions over and giving them up.

After a rebalance and the recovery of the table, and before any record flows, `assign` brings the engines in
line with the assignment: symbols of partitions that went are dropped, symbols of partitions that came are
restored from their newest snapshot, and symbols that stayed keep their hot state. A worker that was out of the
group and comes back finds out who is ahead, its own state or the table, and takes new epochs either way.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

import msgspec
from aiokafka.errors import KafkaError

from agents.owned import Owned, OwnedSymbol, PartitionProgress
from app import telemetry
from app.membership import Membership
from app.microstructure.compact import join
from app.microstructure.engine import EngineParams, StateError, SymbolEngine
from app.stores.base import EPOCH_WARN, ReportStore, StoreUnavailableError
from tables.parts import Found, taken

logger = logging.getLogger(__name__)

Load = Callable[[int, int | None], Mapping[str, Found]]
_RECORD_SEC: Final = 2.0
Write = Callable[[int, Mapping[bytes, bytes]], Awaitable[Any]]


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
    ) -> None:
        self._owned = owned
        self._params = params
        self._load = load
        self._write = write
        self._store = store
        self._monotonic_ns = monotonic_ns
        self._taking = asyncio.Lock()
        self.store_away = False

    def assign(
        self,
        partitions: Iterable[int],
        membership: Membership,
        ends: Mapping[int, int] | None = None,
    ) -> None:
        """Own exactly `partitions`, each symbol with the newest state known.

        Args:
            partitions: what the group gave us.
            membership: who we are in the group now. If it follows what we were before, nobody else can have had
                what stays with us. Else all of it is taken over anew, from ourselves or whoever came between.
            ends: the next offset that each partition's log will take. A state that stands for an offset beyond is of
                another log: the topic was made anew, or lost its end. It would skip all events as known.
        """
        began, restored, wanted = time.monotonic(), 0, set(partitions)
        stays = membership.follows(self._owned.membership)
        self._owned.membership, self._owned.handed_over = membership, False
        for partition in set(self._owned.partitions) - wanted:
            gone = self._owned.drop_partition(partition)
            logger.info("partition %d went, with %s", partition, ", ".join(gone) or "no symbol")
        for partition in sorted(wanted):
            end = ends[partition] if ends is not None else None
            if stays and partition in self._owned.partitions and self._is_of_this_log(partition, end):
                continue
            restored += self._take_over(partition, end)
        telemetry.RESTORE_SECONDS.observe(time.monotonic() - began)
        telemetry.RESTORED_SYMBOLS.inc(restored)
        telemetry.SYMBOLS_ASSIGNED.set(len(self._owned.symbols))

    async def take_epochs(self) -> None:
        """Take a writer epoch for every symbol that has none yet; try again later if the store is away."""
        async with self._taking:  # two epochs for one symbol, and the first would be refused
            await self._take_epochs()

    async def _take_epochs(self) -> None:
        waiting = {
            name: symbol.table_epoch
            for name, symbol in self._owned.symbols.items()
            if symbol.epoch is None and not symbol.fenced
        }
        if not waiting:
            self.store_away = False
            return
        try:
            epochs = await self._store.take_epochs(waiting)
            await self._record(epochs)
            # Read after the epoch was taken: from then on the predecessor's reports are refused, so these are its last.
            last = await asyncio.gather(*map(self._store.read, epochs))
            seen = {name: offset_of(report) for name, report in zip(epochs, last, strict=True)}
        except StoreUnavailableError as error:
            telemetry.ERRORS.labels("store", "unavailable").inc()
            self.store_away = True
            logger.warning("no epochs for %d symbols: %s", len(waiting), error)
            return
        except (TimeoutError, KafkaError) as error:
            telemetry.ERRORS.labels("ownership", "epoch_not_recorded").inc()
            logger.warning("epochs of %d symbols did not reach the changelog: %r", len(waiting), error)
            return
        self.store_away = False
        for name in waiting:
            self._grant(name, epochs.get(name), seen.get(name, -1))
        telemetry.SYMBOLS_ASSIGNED.set(len(self._owned.symbols))

    async def _record(self, epochs: Mapping[str, int | None]) -> None:
        """Put epochs into the table before anything is written under them, so that an emptied Redis repeats none."""
        writes = [
            self._write(symbol.partition, taken(name, epoch))
            for name, epoch in epochs.items()
            if epoch is not None and (symbol := self._owned.symbols.get(name)) is not None
        ]
        await asyncio.wait_for(asyncio.gather(*writes), _RECORD_SEC)

    def _is_of_this_log(self, partition: int, end: int | None) -> bool:
        return end is None or all(symbol.engine.offset < end for symbol in self._owned.of(partition))

    def _take_over(self, partition: int, end: int | None) -> int:
        """Make the symbols of a partition our own; return how many were restored from the table."""
        self._owned.partitions[partition] = PartitionProgress()
        known = {symbol.engine.symbol: symbol for symbol in self._owned.of(partition)}
        found = self._load(partition, end)
        for name in known.keys() - found.keys():
            self._keep_or_restore(partition, known[name], Found(name, 0, -1, b"", [], []), end)
        for name, record in found.items():
            self._keep_or_restore(partition, known.get(name), record, end)
        return len(found)

    def _keep_or_restore(self, partition: int, mine: OwnedSymbol | None, record: Found, end: int | None) -> None:
        """Go on from the newer of our own state and the table's; both are true, since both come from the log.

        What the table does not have, whoever wrote it, is not covered by anything.
        """
        beyond = mine is not None and end is not None and mine.engine.offset >= end
        if mine is not None and not beyond and mine.engine.offset >= record.offset:
            engine, arrived_ns, table_epoch = mine.engine, mine.arrived_ns, max(record.epoch, mine.epoch or 0)
            logger.info("kept at offset %d, table %d", engine.offset, record.offset, extra=_fields(engine))
        else:
            engine, arrived_ns, table_epoch = self._restored(record), self._monotonic_ns(), record.epoch
            if mine is not None:
                table_epoch = max(table_epoch, mine.table_epoch, mine.epoch or 0)
        self._owned.symbols[record.symbol] = OwnedSymbol(
            engine,
            partition,
            table_epoch=table_epoch,
            arrived_ns=arrived_ns,
            uncovered=record.offset + 1 if engine.offset > record.offset else None,
            stale_keys=record.stale,
            # What readers have seen counts the offsets of a log that is gone.
            publish_anew=beyond or (record.beyond and record.offset < 0),
        )

    def _restored(self, record: Found) -> SymbolEngine:
        if record.offset < 0:
            if record.beyond:
                telemetry.ERRORS.labels("ownership", "offset_beyond_log").inc()
                logger.error("the topic was made anew, starting empty", extra={"symbol": record.symbol})
            return SymbolEngine(record.symbol, self._params)
        try:
            engine = SymbolEngine.from_state(join(record.head, record.parts), self._params)
        except StateError as error:
            # Better to start empty, and say so, than not to start.
            telemetry.ERRORS.labels("ownership", "bad_snapshot").inc()
            logger.error("%s, starting empty", error, extra={"symbol": record.symbol})
            return SymbolEngine(record.symbol, self._params)
        logger.info("restored at offset %d", engine.offset, extra=_fields(engine))
        return engine

    def _grant(self, name: str, epoch: int | None, publish_from: int) -> None:
        symbol = self._owned.symbols.get(name)
        if symbol is None or symbol.epoch is not None:
            return  # it went while Redis answered
        if epoch is None:
            symbol.fenced = True
            telemetry.ERRORS.labels("store", "epoch_exhausted").inc()
            logger.error("writer epoch is at its limit: not published any more", extra={"symbol": name})
            return
        if epoch >= EPOCH_WARN:
            telemetry.ERRORS.labels("store", "epoch_high").inc()
            logger.warning("writer epoch %d nears its limit", epoch, extra={"symbol": name})
        symbol.epoch, symbol.publish_from = epoch, -1 if symbol.publish_anew else publish_from
        logger.info("writer epoch %d", epoch, extra={"symbol": name})


def _fields(engine: SymbolEngine) -> dict[str, object]:
    """Return the `extra` of a log line about an engine: its symbol, and how far its newest event is behind."""
    lag_ms = max(0, time.time_ns() - engine.ts_event) // 1_000_000 if engine.offset >= 0 else None
    return {"symbol": engine.symbol, "lag_ms": lag_ms}


class _Provenance(msgspec.Struct):
    offset: int


class _Published(msgspec.Struct):
    provenance: _Provenance


_decode_published = msgspec.json.Decoder(_Published).decode


def offset_of(report: bytes | None) -> int:
    """Return the offset that a report stands for, -1 for none or for something that is no report."""
    if report is None:
        return -1
    try:
        return _decode_published(report).provenance.offset
    except msgspec.DecodeError:
        return -1
