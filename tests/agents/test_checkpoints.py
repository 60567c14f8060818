import asyncio
from collections.abc import Collection, Iterable, Mapping

import pytest

from agents.checkpoints import Checkpoints
from agents.owned import Owned, OwnedSymbol, PartitionProgress
from app.microstructure.compact import join
from app.microstructure.engine import EngineParams, SymbolEngine
from support.markets import trade
from tables.parts import Key, newest


class SlowTable:
    """A table whose changelog acknowledges when told to; `values` is what it then has, `sends` what it has not."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.sends: list[asyncio.Future[None]] = []

    def write(self, _: int, values: Mapping[bytes, bytes]) -> asyncio.Future[None]:
        self.values.update(values)
        return self._send()

    def delete(self, _: int, keys: Iterable[bytes]) -> asyncio.Future[None]:
        for key in keys:
            del self.values[key]
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    def offset(self) -> int:
        found = newest(self.values.items())["BTCUSDT"]
        return join(found.head, found.parts).offset

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
        self.confirmed: list[set[int]] = []
        self.is_ours = True
        self.checkpoints = Checkpoints(self.owned, self.table, self._commit)

    async def _commit(self, offsets: Mapping[int, int], confirm: Collection[int]) -> bool:
        self.commits.append(offsets)
        self.confirmed.append(set(confirm))
        return self.is_ours

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


async def test_what_others_left_is_deleted_once_our_first_snapshot_is_safe(setting: Setting) -> None:
    older = [Key("BTCUSDT", 1).encode(), Key("BTCUSDT", 2).encode(), Key("BTCUSDT", 2, 7).encode()]
    setting.table.values = dict.fromkeys(older, b"")
    setting.symbol.stale_keys = list(older)
    running = asyncio.create_task(setting.checkpoints.run())
    await setting.sending()
    assert set(older) < set(setting.table.values), "nothing is deleted before"
    await setting.acknowledge()
    await running
    assert {Key.decode(key).epoch for key in setting.table.values} == {3}


async def test_after_a_failure_every_part_is_written_again(setting: Setting) -> None:
    """The changelog may have lost what the database has."""
    running = asyncio.create_task(setting.checkpoints.run())
    await setting.acknowledge(OSError("broker away"))
    await running
    setting.table.values.clear()
    setting.apply(2)
    again = asyncio.create_task(setting.checkpoints.run())
    await setting.acknowledge()
    await again
    assert setting.table.offset() == 2


async def test_a_checkpoint_that_is_given_up_leaves_no_trust_in_its_parts(setting: Setting) -> None:
    running = asyncio.create_task(setting.checkpoints.hand_over())
    await setting.sending()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    setting.table.values.clear()
    setting.table.sends.clear()
    again = asyncio.create_task(setting.checkpoints.hand_over())
    await setting.acknowledge()
    await again
    assert setting.table.offset() == 1


async def test_a_quiet_symbol_is_not_written_again(setting: Setting) -> None:
    for _ in range(2):
        running = asyncio.create_task(setting.checkpoints.run())
        while not running.done():
            if setting.table.sends:
                await setting.acknowledge()
            await asyncio.sleep(0)
    assert len(setting.commits) == 2
    assert setting.table.sends == []


async def test_symbols_take_turns_and_those_that_wait_longest_go_first(setting: Setting) -> None:
    checkpoints = Checkpoints(setting.owned, setting.table, setting._commit, shares=2)
    for name in ("AAAUSDT", "BBBUSDT", "CCCUSDT"):
        symbol = OwnedSymbol(SymbolEngine(name, EngineParams()), 0, epoch=1)
        symbol.engine.apply(trade(1, symbol=name), 1)
        symbol.applied(1, 0)
        setting.owned.symbols[name] = symbol
    written: list[set[str]] = []
    for _ in range(2):
        before = set(setting.table.values)
        running = asyncio.create_task(checkpoints.run())
        while not running.done():
            if setting.table.sends:
                await setting.acknowledge()
            await asyncio.sleep(0)
        written.append({Key.decode(key).symbol for key in setting.table.values.keys() - before})
    assert written == [{"BTCUSDT", "AAAUSDT"}, {"BBBUSDT", "CCCUSDT"}]


async def test_a_symbol_is_not_written_twice_within_its_interval(setting: Setting) -> None:
    checkpoints = Checkpoints(setting.owned, setting.table, setting._commit, interval_sec=3600)
    for _ in range(2):
        running = asyncio.create_task(checkpoints.run())
        while not running.done():
            if setting.table.sends:
                await setting.acknowledge()
            await asyncio.sleep(0)
        setting.apply(setting.symbol.engine.offset + 1)
    assert setting.table.offset() == 1


@pytest.mark.parametrize("is_ours", [True, False])
async def test_a_symbol_that_was_refused_gets_a_new_epoch_only_if_the_group_says_that_it_is_ours(
    setting: Setting, is_ours: bool
) -> None:
    """Somebody who was late took a newer epoch: with the group behind us we outlive him, without it we are him."""
    setting.symbol.fenced, setting.is_ours = True, is_ours
    await setting.checkpoints.run()
    assert setting.confirmed == [{0}]
    if is_ours:
        assert (setting.symbol.epoch, setting.symbol.fenced, setting.symbol.table_epoch) == (None, False, 3)
    else:
        assert (setting.symbol.epoch, setting.symbol.fenced) == (3, True)


async def test_a_symbol_whose_epochs_are_used_up_gets_no_other(setting: Setting) -> None:
    setting.symbol.fenced, setting.symbol.epoch = True, None
    await setting.checkpoints.run()
    assert setting.symbol.fenced
