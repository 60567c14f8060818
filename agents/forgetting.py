"""Symbols of which nothing comes any more are given up: their state, their snapshots, their report.

A market that was delisted, or a name that somebody made up, would otherwise cost a report four times a second for ever.
A symbol is forgotten once it has been silent for `after_sec` while others were heard of: when nothing comes at all, it
is the source that fails. Where its partition is full, a name that was heard of for less than a minute goes after ten.

The order makes it safe to fail anywhere: the report goes first, under our epoch, so that a newer writer's stays; then
the table is told that the partition is covered without the symbol; then its snapshots go. What stays behind is found by
the next owner, who forgets it in turn. Should events come again, the symbol begins empty under a newer epoch.
"""

import asyncio
import logging
from collections.abc import Awaitable, Collection, Iterable, Mapping
from typing import Any, Final, Protocol

from aiokafka.errors import KafkaError

from agents.admission import Admission
from agents.owned import Owned, OwnedSymbol
from app import telemetry
from app.stores.base import ReportStore, StoreUnavailableError
from tables.records import Key, coverage

logger = logging.getLogger(__name__)

BRIEF_NS: Final = 60 * 10**9
BRIEF_SILENCE_NS: Final = 600 * 10**9
_AT_ONCE: Final = 100


class Table(Protocol):
    """What forgetting needs of the snapshot table."""

    def keys_of(self, partition: int, symbols: Collection[str]) -> set[bytes]:
        """Return every key that there is of `symbols`."""

    def write(self, partition: int, values: Mapping[bytes, bytes]) -> Awaitable[Any]:
        """Write; done when the changelog has it."""

    def delete(self, partition: int, keys: Iterable[bytes]) -> Awaitable[Any]:
        """Delete; done when the changelog knows."""


class Forgetting:
    """Gives up the silent symbols of `owned`.

    `publishing` is held while reports are on their way to the store, `checkpointing` while snapshots are to the table.
    """

    def __init__(
        self,
        owned: Owned,
        table: Table,
        store: ReportStore,
        admission: Admission,
        after_sec: float,
        publishing: asyncio.Lock,
        checkpointing: asyncio.Lock,
    ) -> None:
        self._owned = owned
        self._table = table
        self._store = store
        self._admission = admission
        self._publishing = publishing
        self._checkpointing = checkpointing
        self._after_ns = int(after_sec * 1e9)

    async def run(self) -> None:
        """Forget what has been silent for long enough. What fails is tried again the next time."""
        for partition in sorted({each.partition for each in self._silent()}):
            async with self._checkpointing:  # nobody tells the table of a symbol whose snapshot is about to go
                if self._owned.handed_over or partition not in self._owned.partitions:
                    return
                silent = [each for each in self._silent() if each.partition == partition]
                try:
                    await self._forget(partition, silent[:_AT_ONCE])
                except StoreUnavailableError as error:
                    telemetry.ERRORS.labels("store", error.kind).inc()
                    logger.warning("silent symbols of partition %d are not forgotten yet: %s", partition, error)
                    return

    def _silent(self) -> list[OwnedSymbol]:
        symbols, full = self._owned.symbols.values(), self._admission.full()
        newest_ns = max((each.heard_ns for each in symbols), default=0)

        def silent_ns(symbol: OwnedSymbol) -> int:
            return newest_ns - max(symbol.heard_ns, symbol.since_ns)

        return [
            each
            for each in symbols
            if each.is_saved
            and (
                silent_ns(each) > self._after_ns
                or (each.partition in full and _is_brief(each) and silent_ns(each) > BRIEF_SILENCE_NS)
            )
        ]

    async def _forget(self, partition: int, silent: Collection[OwnedSymbol]) -> None:
        heard_ns = {each.engine.symbol: each.heard_ns for each in silent}
        epochs = {each.engine.symbol: each.epoch for each in silent if each.epoch is not None}
        async with self._publishing:  # a report that is on its way would come behind
            ours = await self._store.forget(epochs)
        # Redis took its time: an event may have come, or the partition gone. From here to the first write nothing can.
        progress = self._owned.partitions.get(partition)
        if progress is None or self._owned.handed_over:
            return
        gone = [
            each
            for each in silent
            if each.engine.symbol in ours
            and each.is_saved
            and each.heard_ns == heard_ns[each.engine.symbol]
            and self._owned.symbols.get(each.engine.symbol) is each
        ]
        if not gone:
            return
        keys = self._keys(partition, gone)
        for each in gone:
            del self._owned.symbols[each.engine.symbol]
        saved = {each.engine.symbol: each.saved for each in self._owned.of(partition)}
        upto = min(progress.told, self._owned.committable().get(partition, 0) - 1)
        names = ", ".join(each.engine.symbol for each in gone)
        try:
            await self._table.write(partition, coverage(progress.log, upto, saved))
            if not self._owned.handed_over and self._owned.partitions.get(partition) is progress:
                await self._table.delete(partition, keys)
        except (KafkaError, TimeoutError) as error:
            telemetry.ERRORS.labels("checkpoint", "coverage").inc()
            logger.warning("silent symbols of partition %d are not forgotten yet: %r", partition, error)
            if self._owned.partitions.get(partition) is progress:
                for each in gone:
                    self._owned.symbols.setdefault(each.engine.symbol, each)
            return
        telemetry.FORGOTTEN.inc(len(gone))
        logger.info("forgot %d silent symbols of partition %d: %s", len(gone), partition, names)

    def _keys(self, partition: int, symbols: Collection[OwnedSymbol]) -> set[bytes]:
        """Return the keys of what may go of `symbols`: nothing that a newer owner has written."""
        epochs = {each.engine.symbol: each.epoch or 0 for each in symbols}
        keys = set[bytes]()
        for raw in self._table.keys_of(partition, epochs):
            key = Key.decode(raw)
            if key.epoch <= epochs[key.symbol]:
                keys.add(raw)
        for each in symbols:
            keys |= each.stale_keys | each.writer.keys(each.engine.symbol, each.epoch or 0)
        return keys


def _is_brief(symbol: OwnedSymbol) -> bool:
    # Events may say of themselves that they are old; only of a name that another worker has admitted we know no better.
    heard_for_ns = symbol.heard_ns - symbol.admitted_ns if symbol.admitted_ns else symbol.engine.watched_ns
    return heard_for_ns < BRIEF_NS
