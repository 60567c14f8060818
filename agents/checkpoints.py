"""Snapshots to the table, and offsets committed only behind them.

A checkpoint writes every symbol that changed, waits until the changelog has acknowledged the snapshots, and
then commits, for each partition, the offset below which everything is covered. A crash at any instant
therefore loses nothing: what was not committed is read again, and what a snapshot already holds is skipped.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from agents.owned import Owned, OwnedSymbol
from app import telemetry
from tables.snapshots import SnapshotRecord

logger = logging.getLogger(__name__)

Commit = Callable[[Mapping[int, int]], Awaitable[Any]]


class Table(Protocol):
    """What a checkpoint needs of the snapshot table."""

    def save(self, partition: int, record: SnapshotRecord) -> Awaitable[Any]:
        """Write a snapshot; done when the changelog has it."""

    def epochs(self, partition: int, symbol: str) -> list[int]:
        """Return the epochs under which a symbol has snapshots."""

    def delete(self, partition: int, symbol: str, epoch: int) -> Awaitable[Any]:
        """Delete a snapshot; done when the changelog has it."""


class Checkpoints:
    """Writes snapshots of `owned` to `table` and commits behind them.

    Attributes:
        completed_at: monotonic seconds at which the last one was done, of the start before the first.
    """

    def __init__(self, owned: Owned, table: Table, commit: Commit) -> None:
        self._owned = owned
        self._table = table
        self._commit = commit
        self._running = asyncio.Lock()
        self.completed_at = time.monotonic()

    async def run(self) -> None:
        """Take one checkpoint. Errors are counted and logged; the next checkpoint covers what this missed."""
        async with self._running:
            due = [symbol for symbol in self._owned.symbols.values() if symbol.needs_snapshot]
            outcomes = await asyncio.gather(*map(self._save, due), return_exceptions=True)
            for symbol, outcome in zip(due, outcomes, strict=True):
                if isinstance(outcome, BaseException):
                    telemetry.ERRORS.labels("checkpoint", "snapshot").inc()
                    logger.error("snapshot failed: %r", outcome, extra={"symbol": symbol.engine.symbol})
            offsets = self._owned.committable()
            if offsets:
                await self._commit(offsets)
            self.completed_at = time.monotonic()

    async def _save(self, symbol: OwnedSymbol) -> None:
        epoch = symbol.epoch
        if epoch is None:
            return
        state = symbol.engine.snapshot()
        symbol.snapshot_taken()
        telemetry.SNAPSHOT_BYTES.observe(len(state))
        await self._table.save(symbol.partition, SnapshotRecord(symbol.engine.symbol, epoch, state))
        first = not symbol.epoch_saved
        symbol.snapshot_acknowledged()
        if first:
            await self._delete_older(symbol, epoch)

    async def _delete_older(self, symbol: OwnedSymbol, epoch: int) -> None:
        name = symbol.engine.symbol
        for older in self._table.epochs(symbol.partition, name):
            if older < epoch:
                await self._table.delete(symbol.partition, name, older)
