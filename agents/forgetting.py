"""Symbols of which nothing comes any more are given up: their state, their snapshots, their report.

A market that was delisted, or a name that somebody made up, would otherwise cost a report four times a second for ever.
A symbol is forgotten once it has been silent for `after_sec` while others were heard of: when nothing comes at all, it
is the source that fails. Where its partition is full, a name that this worker has heard of for less than a minute goes
after ten.

The order makes it safe to fail anywhere: the report goes first, under our epoch, so that a newer writer's stays; then
the table is told that the partition is covered without the symbol; then its snapshots go. What stays behind is found by
the next owner, who forgets it in turn. Should events come again, the symbol begins empty under a newer epoch.
"""

import asyncio
import logging
from collections.abc import Awaitable, Collection, Iterable, Mapping
from itertools import batched
from typing import Any, Final, Protocol

from agents.admission import Admission
from agents.owned import Owned, OwnedSymbol
from app import telemetry
from app.stores.base import ReportStore, StoreUnavailableError
from tables.records import coverage

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
    """Gives up the silent symbols of `owned`; `publishing` is held while reports are on their way to the store."""

    def __init__(
        self,
        owned: Owned,
        table: Table,
        store: ReportStore,
        admission: Admission,
        after_sec: float,
        publishing: asyncio.Lock,
    ) -> None:
        self._owned = owned
        self._table = table
        self._store = store
        self._admission = admission
        self._publishing = publishing
        self._after_ns = int(after_sec * 1e9)

    async def run(self) -> None:
        """Forget what has been silent for long enough. What fails is tried again the next time."""
        for some in batched(self._silent(), _AT_ONCE):
            if self._owned.handed_over:
                return
            try:
                await self._forget(some)
            except StoreUnavailableError as error:
                telemetry.ERRORS.labels("store", error.kind).inc()
                logger.warning("%d silent symbols are not forgotten yet: %s", len(some), error)
                return

    def _silent(self) -> list[OwnedSymbol]:
        symbols, full = self._owned.symbols.values(), self._admission.full()
        newest_ns = max((each.heard_ns for each in symbols), default=0)
        return [
            each
            for each in symbols
            if each.is_saved
            and (
                newest_ns - each.heard_ns > self._after_ns
                or (each.partition in full and _is_brief(each) and newest_ns - each.heard_ns > BRIEF_SILENCE_NS)
            )
        ]

    async def _forget(self, symbols: Collection[OwnedSymbol]) -> None:
        epochs = {each.engine.symbol: each.epoch for each in symbols if each.epoch is not None}
        gone: dict[int, list[OwnedSymbol]] = {}
        async with self._publishing:  # a report that is on its way would come behind
            ours = await self._store.forget(epochs)
            for each in symbols:
                name = each.engine.symbol
                # Redis took its time: an event may have come, or the partition gone.
                stays = not each.is_saved or self._owned.symbols.get(name) is not each or self._owned.handed_over
                if name in ours and not stays:
                    del self._owned.symbols[name]
                    gone.setdefault(each.partition, []).append(each)
        for partition, forgotten in gone.items():
            await self._clear(partition, forgotten)

    async def _clear(self, partition: int, symbols: list[OwnedSymbol]) -> None:
        names = [each.engine.symbol for each in symbols]
        keys = self._table.keys_of(partition, names)
        for each in symbols:
            keys |= each.stale_keys | each.writer.keys(each.engine.symbol, each.epoch or 0)
        progress = self._owned.partitions[partition]
        saved = {each.engine.symbol: each.saved for each in self._owned.of(partition)}
        await self._table.write(partition, coverage(progress.log, progress.told, saved))
        await self._table.delete(partition, keys)
        telemetry.FORGOTTEN.inc(len(names))
        logger.info("forgot %d silent symbols of partition %d: %s", len(names), partition, ", ".join(names))


def _is_brief(symbol: OwnedSymbol) -> bool:
    return bool(symbol.admitted_ns) and symbol.heard_ns - symbol.admitted_ns < BRIEF_NS
