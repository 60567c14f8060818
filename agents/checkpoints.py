"""Snapshots to the table, and offsets committed only behind them.

A checkpoint writes the symbols whose turn it is, waits until the changelog has acknowledged the snapshots, tells the
table how far these cover each partition, and then commits that. A crash at any instant therefore loses nothing: what
was not committed is read again, and what a snapshot already holds is skipped.

From what the table was told (`tables.records.coverage`) a next owner sees where to read on, and whether a snapshot is
missing.

Snapshots are spread: every checkpoint takes a share of the symbols, those that wait longest first, so that none
of them holds up the reports.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from itertools import batched
from math import ceil
from typing import Any, Final, Protocol

from agents.owned import Owned, OwnedSymbol, PartitionProgress
from app import telemetry
from app.microstructure.engine import STATE_VERSION
from tables.records import Snapshot, coverage

logger = logging.getLogger(__name__)

COVERAGE_SEC: Final = 1.0
"""What a next owner reads again of a partition whose symbols are quiet, at most."""
_IN_A_TURN: Final = 20
"""Snapshots that are made before others of this process have a turn; one of full windows takes a millisecond."""

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

    A symbol is written at most once in `interval_sec`; `shares` runs go into that time, and each takes its share. The
    table is told once in `coverage_sec` how far its snapshots cover a partition.

    Attributes:
        completed_at: monotonic seconds at which the last one was done, of the start before the first.
        running: held while one is on its way.
    """

    def __init__(
        self,
        owned: Owned,
        table: Table,
        commit: Commit,
        interval_sec: float = 0.0,
        shares: int = 1,
        coverage_sec: float = COVERAGE_SEC,
    ) -> None:
        self._owned = owned
        self._table = table
        self._commit = commit
        self._shares = shares
        self._coverage_sec = coverage_sec
        self._min_age_sec = interval_sec * (1 - 0.5 / shares)  # half a share early is on time
        self.running = asyncio.Lock()
        self.completed_at = time.monotonic()

    async def run(self) -> None:
        """Take one share. Errors are counted and logged; a later checkpoint covers what this missed."""
        async with self.running:
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
            async with self.running:
                await self._take([s for s in self._owned.symbols.values() if s.needs_snapshot], last=True)
        finally:
            self._owned.handed_over = True

    async def _take(self, due: list[OwnedSymbol], *, last: bool = False) -> None:
        saving: list[asyncio.Future[None]] = []
        try:
            for some in batched(due, _IN_A_TURN):
                saving += map(asyncio.ensure_future, map(self._save, some))
                await asyncio.sleep(0)
            outcomes = await asyncio.gather(*saving, return_exceptions=True)
        except asyncio.CancelledError:
            # What goes on alone would be acknowledged behind a later snapshot, in the place of that.
            for each in saving:
                each.cancel()
            raise
        for symbol, outcome in zip(due, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                telemetry.ERRORS.labels("checkpoint", "snapshot").inc()
                logger.error("snapshot failed: %r", outcome, extra={"symbol": symbol.engine.symbol})
        await self._cover(last=last)
        offsets = {} if self._owned.handed_over else self._covered()
        refused = [symbol for symbol in self._owned.symbols.values() if symbol.fenced and symbol.epoch is not None]
        if offsets and await self._commit(offsets, {symbol.partition for symbol in refused}):
            for symbol in refused:
                # The group knows us as the owner. Whoever took a newer epoch was late and has gone again.
                logger.warning(
                    "refused, but the partition is ours: a new epoch", extra={"symbol": symbol.engine.symbol}
                )
                symbol.renew()
        self.completed_at = time.monotonic()

    async def _cover(self, *, last: bool = False) -> None:
        """Tell the table how far the snapshots in it cover each partition."""
        now, writes = time.monotonic(), []
        for partition, safe in self._owned.committable().items():
            progress = self._owned.partitions[partition]
            if safe - 1 <= progress.told or (not last and now - progress.told_at < self._coverage_sec):
                continue
            saved = {symbol.engine.symbol: symbol.saved for symbol in self._owned.of(partition)}
            writes.append(self._told(partition, progress, safe - 1, coverage(progress.log, safe - 1, saved)))
        for outcome in await asyncio.gather(*writes, return_exceptions=True):
            if isinstance(outcome, BaseException):
                telemetry.ERRORS.labels("checkpoint", "coverage").inc()
                logger.error("coverage not written: %r", outcome)

    def _covered(self) -> dict[int, int]:
        """Return by partition the next offset to read after a crash, as far as the table has been told."""
        return {
            partition: progress.told + 1
            for partition, progress in self._owned.partitions.items()
            if progress.position >= 0
        }

    async def _told(
        self, partition: int, progress: PartitionProgress, upto: int, values: Mapping[bytes, bytes]
    ) -> None:
        progress.told_at = time.monotonic()
        await self._table.write(partition, values)
        progress.told = upto

    async def _save(self, symbol: OwnedSymbol) -> None:
        epoch, progress = symbol.epoch, self._owned.partitions.get(symbol.partition)
        if epoch is None or progress is None:
            return
        symbol.snapshot_at = time.monotonic()
        engine = symbol.engine
        offset, covered = engine.offset, max(progress.position, engine.offset)
        snapshot = Snapshot(engine.snapshot(), STATE_VERSION, progress.log, offset, covered)
        changes = symbol.writer.records(engine.symbol, epoch, snapshot)
        symbol.snapshot_taken()
        telemetry.SNAPSHOT_BYTES.observe(sum(map(len, changes.writes.values())))
        symbol.failing_since = symbol.failing_since or symbol.snapshot_at
        await self._table.write(symbol.partition, changes.writes)
        symbol.snapshot_acknowledged(offset, covered)
        symbol.stale_keys |= set(changes.deletes)
        symbol.stale_keys -= changes.writes.keys()
        gone = frozenset(symbol.stale_keys)
        if gone:
            await self._table.delete(symbol.partition, gone)
            symbol.stale_keys -= gone  # now that the changelog knows
