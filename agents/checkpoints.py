"""Snapshots to the table, and offsets committed only behind them.

A checkpoint writes the symbols whose turn it is, waits until the changelog has acknowledged the snapshots, and
then commits, for each partition, the offset below which everything is covered. A crash at any instant
therefore loses nothing: what was not committed is read again, and what a snapshot already holds is skipped.

Snapshots are spread: every checkpoint takes a share of the symbols, those that wait longest first, so that none
of them holds up the reports.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from math import ceil
from typing import Any, Protocol

from agents.owned import Owned, OwnedSymbol
from app import telemetry

logger = logging.getLogger(__name__)

Commit = Callable[[Mapping[int, int], Collection[int]], Awaitable[bool]]
"""Commits offsets by partition; those of the second argument even if not new. Returns whether the group took them."""


class Table(Protocol):
    """What a checkpoint needs of the snapshot table."""

    def write(self, partition: int, values: Mapping[bytes, bytes]) -> Awaitable[Any]:
        """Write in this order; done when the changelog has all of it."""

    def delete(self, partition: int, keys: Iterable[bytes]) -> Awaitable[Any]:
        """Delete; done when the changelog knows."""


class Checkpoints:
    """Writes snapshots of `owned` to `table` and commits behind them.

    A symbol is written at most once in `interval_sec`; `shares` runs go into that time, and each takes its share.

    Attributes:
        completed_at: monotonic seconds at which the last one was done, of the start before the first.
    """

    def __init__(self, owned: Owned, table: Table, commit: Commit, interval_sec: float = 0.0, shares: int = 1) -> None:
        self._owned = owned
        self._table = table
        self._commit = commit
        self._shares = shares
        self._min_age_sec = interval_sec * (1 - 0.5 / shares)  # half a share early is on time
        self._running = asyncio.Lock()
        self.completed_at = time.monotonic()

    async def run(self) -> None:
        """Take one share. Errors are counted and logged; a later checkpoint covers what this missed."""
        async with self._running:
            if self._owned.handed_over:
                return
            latest = time.monotonic() - self._min_age_sec
            due = [s for s in self._owned.symbols.values() if s.needs_snapshot and s.snapshot_at <= latest]
            due.sort(key=lambda symbol: symbol.snapshot_at)
            await self._take(due[: ceil(len(self._owned.symbols) / self._shares)])

    async def hand_over(self) -> None:
        """Take a checkpoint of everything, the last one until partitions are assigned again.

        While the group rebalances, a commit could be refused as one of the generation before; the Kafka client would
        then leave the group and join anew, in the middle of it.
        """
        try:
            async with self._running:
                await self._take([symbol for symbol in self._owned.symbols.values() if symbol.needs_snapshot])
        finally:
            self._owned.handed_over = True

    async def _take(self, due: list[OwnedSymbol]) -> None:
        outcomes = await asyncio.gather(*map(self._save, due), return_exceptions=True)
        for symbol, outcome in zip(due, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                telemetry.ERRORS.labels("checkpoint", "snapshot").inc()
                logger.error("snapshot failed: %r", outcome, extra={"symbol": symbol.engine.symbol})
        offsets = {} if self._owned.handed_over else self._owned.committable()
        refused = [symbol for symbol in self._owned.symbols.values() if symbol.fenced and symbol.epoch is not None]
        if offsets and await self._commit(offsets, {symbol.partition for symbol in refused}):
            for symbol in refused:
                # The group knows us as the owner. Whoever took a newer epoch was late and has gone again.
                logger.warning(
                    "refused, but the partition is ours: a new epoch", extra={"symbol": symbol.engine.symbol}
                )
                symbol.renew()
        self.completed_at = time.monotonic()

    async def _save(self, symbol: OwnedSymbol) -> None:
        epoch = symbol.epoch
        if epoch is None:
            return
        symbol.snapshot_at = time.monotonic()
        head, parts = symbol.compactor.split(symbol.engine.state())
        engine = symbol.engine
        changes = symbol.ledger.changes(engine.symbol, epoch, engine.offset, head, parts)
        symbol.snapshot_taken()
        telemetry.SNAPSHOT_BYTES.observe(sum(map(len, changes.writes.values())))
        try:
            await self._table.write(symbol.partition, changes.writes)
        except BaseException:  # also if we are told to stop waiting
            symbol.ledger.distrust()
            raise
        symbol.snapshot_acknowledged()
        stale, symbol.stale_keys = symbol.stale_keys, []
        await self._table.delete(symbol.partition, stale + changes.deletes)
