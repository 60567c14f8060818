"""Taking partitions over and giving them up.

After a rebalance and the recovery of the table, and before any record flows, `assign` brings the engines in
line with the assignment: symbols of partitions that went are dropped, symbols of partitions that came are
restored from their newest snapshot, and symbols that stayed keep their hot state, unless the table shows
that somebody else wrote in between, in which case the table is right.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping

import msgspec

from agents.owned import Owned, OwnedSymbol, PartitionProgress
from app import telemetry
from app.microstructure.compact import join
from app.microstructure.engine import EngineParams, StateError, SymbolEngine
from app.stores.base import EPOCH_WARN, ReportStore, StoreUnavailableError
from tables.parts import Found

logger = logging.getLogger(__name__)

Load = Callable[[int], Mapping[str, Found]]


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
        store: ReportStore,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._owned = owned
        self._params = params
        self._load = load
        self._store = store
        self._monotonic_ns = monotonic_ns
        self._taking = asyncio.Lock()
        self.store_away = False

    def assign(self, partitions: Iterable[int], ends: Mapping[int, int] | None = None) -> None:
        """Own exactly `partitions`, each symbol with the newest state known.

        `ends` has the next offset that each partition's log will take. A state that stands for an offset beyond
        is of another log: the topic was made anew, or lost its end. It would skip all events as known.
        """
        began, restored, wanted = time.monotonic(), 0, set(partitions)
        for partition in set(self._owned.partitions) - wanted:
            gone = self._owned.drop_partition(partition)
            logger.info("partition %d went, with %s", partition, ", ".join(gone) or "no symbol")
        for partition in sorted(wanted):
            self._owned.partitions.setdefault(partition, PartitionProgress())
            for record in self._load(partition).values():
                restored += self._adopt(partition, record)
            if ends is not None:
                self._distrust_beyond(partition, ends[partition])
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
            # Read after the epoch was taken: from then on the predecessor's reports are refused, so these are its last.
            seen = {name: offset_of(await self._store.read(name)) for name in epochs}
        except StoreUnavailableError as error:
            telemetry.ERRORS.labels("store", "unavailable").inc()
            self.store_away = True
            logger.warning("no epochs for %d symbols: %s", len(waiting), error)
            return
        self.store_away = False
        for name in waiting:
            self._grant(name, epochs.get(name), seen.get(name, -1))
        telemetry.SYMBOLS_ASSIGNED.set(len(self._owned.symbols))

    def _adopt(self, partition: int, record: Found) -> bool:
        """Restore the symbol of `record`, unless our own state is newer; return whether it was."""
        mine = self._owned.symbols.get(record.symbol)
        if mine is not None and not mine.fenced and record.epoch <= (mine.epoch or mine.table_epoch):
            return False  # nobody wrote since: the hot state is the newest
        try:
            engine = SymbolEngine.from_state(join(record.head, record.parts), self._params)
        except StateError as error:
            # Better to start empty, and say so, than not to start.
            telemetry.ERRORS.labels("ownership", "bad_snapshot").inc()
            logger.error("%s, starting empty", error, extra={"symbol": record.symbol})
            engine = SymbolEngine(record.symbol, self._params)
        self._owned.symbols[record.symbol] = OwnedSymbol(
            engine,
            partition,
            table_epoch=record.epoch,
            arrived_ns=self._monotonic_ns(),
            stale_keys=record.stale,
        )
        logger.info("restored at offset %d of epoch %d", engine.offset, record.epoch, extra={"symbol": record.symbol})
        return True

    def _distrust_beyond(self, partition: int, end: int) -> None:
        for symbol in self._owned.of(partition):
            offset, name = symbol.engine.offset, symbol.engine.symbol
            if offset < end:
                continue
            telemetry.ERRORS.labels("ownership", "offset_beyond_log").inc()
            logger.error(
                "state is of offset %d, the log ends at %d: starting empty", offset, end, extra={"symbol": name}
            )
            epoch = symbol.epoch or symbol.table_epoch
            self._owned.symbols[name] = OwnedSymbol(
                SymbolEngine(name, self._params),
                partition,
                table_epoch=epoch,
                arrived_ns=self._monotonic_ns(),
                stale_keys=symbol.stale_keys,
                other_log=True,
            )

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
        symbol.epoch, symbol.publish_from = epoch, -1 if symbol.other_log else publish_from
        logger.info("writer epoch %d", epoch, extra={"symbol": name})


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
