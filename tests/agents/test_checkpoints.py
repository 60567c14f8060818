import asyncio
from collections.abc import Mapping

import pytest

from agents.checkpoints import Checkpoints
from agents.owned import Owned, OwnedSymbol, PartitionProgress
from app.microstructure.engine import EngineParams, SymbolEngine
from support.markets import trade
from tables.snapshots import SnapshotRecord


class SlowTable:
    """A table whose changelog acknowledges when told to."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, int], SnapshotRecord] = {}
        self.sends: list[asyncio.Future[None]] = []

    def save(self, _: int, record: SnapshotRecord) -> asyncio.Future[None]:
        self.records[record.symbol, record.epoch] = record
        return self._send()

    def epochs(self, _: int, symbol: str) -> list[int]:
        return [epoch for name, epoch in self.records if name == symbol]

    def delete(self, _: int, symbol: str, epoch: int) -> asyncio.Future[None]:
        del self.records[symbol, epoch]
        return self._send()

    def _send(self) -> asyncio.Future[None]:
        self.sends.append(asyncio.get_running_loop().create_future())
        return self.sends[-1]


class Setting:
    """One symbol with two events applied, a table, and what was committed."""

    def __init__(self) -> None:
        self.owned = Owned()
        self.owned.partitions[0] = PartitionProgress()
        self.symbol = OwnedSymbol(SymbolEngine("BTCUSDT", EngineParams()), 0, epoch=3)
        self.owned.symbols["BTCUSDT"] = self.symbol
        self.table = SlowTable()
        self.commits: list[Mapping[int, int]] = []
        self.checkpoints = Checkpoints(self.owned, self.table, self._commit)

    async def _commit(self, offsets: Mapping[int, int]) -> None:
        self.commits.append(offsets)

    def apply(self, offset: int) -> None:
        self.symbol.engine.apply(trade(offset), offset)
        self.symbol.applied(offset, 0)
        self.owned.partitions[0].position = offset

    async def sending(self) -> None:
        """Wait until a write is on its way."""
        while not self.table.sends:  # noqa: ASYNC110  # the other task needs turns, not time
            await asyncio.sleep(0)

    async def acknowledge(self, error: Exception | None = None) -> None:
        await self.sending()
        sent = self.table.sends.pop(0)
        if error:
            sent.set_exception(error)
        else:
            sent.set_result(None)


@pytest.fixture
def setting() -> Setting:
    made = Setting()
    made.apply(0)
    made.apply(1)
    return made


async def test_offsets_are_committed_only_after_the_changelog_has_the_snapshot(setting: Setting) -> None:
    running = asyncio.create_task(setting.checkpoints.run())
    await setting.sending()
    assert setting.commits == []
    await setting.acknowledge()
    await running
    assert setting.commits == [{0: 2}]


async def test_events_that_came_while_the_snapshot_was_sent_are_not_committed(setting: Setting) -> None:
    running = asyncio.create_task(setting.checkpoints.run())
    await setting.sending()
    setting.apply(2)
    await setting.acknowledge()
    await running
    assert setting.commits == [{0: 2}]


async def test_a_snapshot_that_fails_commits_nothing_and_is_taken_again(setting: Setting) -> None:
    running = asyncio.create_task(setting.checkpoints.run())
    await setting.acknowledge(OSError("broker away"))
    await running
    assert setting.commits == [{0: 0}]
    again = asyncio.create_task(setting.checkpoints.run())
    await setting.acknowledge()
    await again
    assert setting.commits[-1] == {0: 2}


async def test_older_epochs_are_deleted_once_the_new_one_is_safe(setting: Setting) -> None:
    for epoch in (1, 2):
        setting.table.records["BTCUSDT", epoch] = SnapshotRecord("BTCUSDT", epoch, b"")
    running = asyncio.create_task(setting.checkpoints.run())
    await setting.sending()
    assert setting.table.epochs(0, "BTCUSDT") == [1, 2, 3], "nothing is deleted before"
    for _ in range(3):
        await setting.acknowledge()
    await running
    assert setting.table.epochs(0, "BTCUSDT") == [3]


async def test_a_quiet_symbol_is_not_written_again(setting: Setting) -> None:
    for _ in range(2):
        running = asyncio.create_task(setting.checkpoints.run())
        while not running.done():
            if setting.table.sends:
                await setting.acknowledge()
            await asyncio.sleep(0)
    assert len(setting.commits) == 2
    assert setting.table.sends == []
