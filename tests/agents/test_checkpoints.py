import asyncio
from collections.abc import Collection, Iterable, Mapping

import pytest

from agents.checkpoints import Checkpoints
from agents.owned import OWNER, Owned, OwnedSymbol, PartitionProgress
from app.microstructure.engine import STATE_VERSION, EngineParams, SymbolEngine
from support.markets import trade
from tables.records import COVERAGE_KEY, Key, SymbolRecords, read


class SlowTable:
    """A table whose changelog acknowledges when told to; `values` is what it then has, `sends` what it has not."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.sends: list[asyncio.Future[None]] = []
        self.refuses_deletes = False

    def write(self, _: int, values: Mapping[bytes, bytes]) -> asyncio.Future[None]:
        self.values.update(values)
        return _done() if COVERAGE_KEY in values else self._send()

    def delete(self, _: int, keys: Iterable[bytes]) -> asyncio.Future[None]:
        for key in keys:
            del self.values[key]
        if self.refuses_deletes:
            raise OSError("broker away")
        return _done()

    def offset(self) -> int:
        """The offset of the newest snapshot."""
        return self.read().candidates[0].offset

    def read(self) -> SymbolRecords:
        """What a next owner finds."""
        return read(self.values.items(), STATE_VERSION, None)["BTCUSDT"]

    def _send(self) -> asyncio.Future[None]:
        self.sends.append(asyncio.get_running_loop().create_future())
        return self.sends[-1]


def _done() -> asyncio.Future[None]:
    done = asyncio.get_running_loop().create_future()
    done.set_result(None)
    return done


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
        self.checkpoints = Checkpoints(self.owned, self.table, self._commit, coverage_sec=0.0)

    async def _commit(self, offsets: Mapping[int, int], confirm: Collection[int]) -> bool:
        self.commits.append(offsets)
        self.confirmed.append(set(confirm))
        return self.is_ours

    def apply(self, offset: int) -> None:
        self.symbol.engine.apply(trade(offset), offset)
        self.symbol.applied(offset)
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
    assert setting.commits == [{0: 0}], "nothing is covered"
    again = asyncio.create_task(setting.checkpoints.run())
    await setting.acknowledge()
    await again
    assert setting.commits[-1] == {0: 2}


async def test_what_others_left_is_deleted_once_our_first_snapshot_is_safe(setting: Setting) -> None:
    older = {
        Key("BTCUSDT", 1, "other").encode(),
        Key("BTCUSDT", 2, "other").encode(),
        Key("BTCUSDT", 2, "other", 7).encode(),
    }
    setting.table.values = dict.fromkeys(older, b"")
    setting.symbol.stale_keys = set(older)
    running = asyncio.create_task(setting.checkpoints.run())
    await setting.sending()
    assert older < set(setting.table.values), "nothing is deleted before"
    await setting.acknowledge()
    await running
    assert setting.table.values.keys() == {Key("BTCUSDT", 3, OWNER).encode(), COVERAGE_KEY}


async def test_what_could_not_be_deleted_is_deleted_later(setting: Setting) -> None:
    setting.table.values = {Key("BTCUSDT", 1, "other").encode(): b""}
    setting.symbol.stale_keys = {Key("BTCUSDT", 1, "other").encode()}
    setting.table.refuses_deletes = True
    for _ in range(2):
        running = asyncio.create_task(setting.checkpoints.run())
        await setting.acknowledge()
        await running
        assert bool(setting.symbol.stale_keys) is setting.table.refuses_deletes
        setting.table.values.setdefault(Key("BTCUSDT", 1, "other").encode(), b"")
        setting.table.refuses_deletes = False
        setting.apply(2)


async def test_after_a_new_epoch_the_snapshot_of_the_old_one_goes(setting: Setting) -> None:
    for epoch in (3, 4):
        setting.symbol.epoch = epoch
        running = asyncio.create_task(setting.checkpoints.run())
        await setting.acknowledge()
        await running
        assert {Key.decode(key).epoch for key in setting.table.values if key != COVERAGE_KEY} == {epoch}
        setting.symbol.renew()
        setting.apply(epoch)


async def test_the_table_is_told_how_far_its_snapshots_cover_the_partition(setting: Setting) -> None:
    """Events of others came since: a next owner must not read them again for a symbol that is quiet."""
    setting.owned.partitions[0].position = 90
    running = asyncio.create_task(setting.checkpoints.run())
    await setting.acknowledge()
    await running
    (found,) = setting.table.read().candidates
    assert (found.offset, found.covers) == (1, 90)
    assert not setting.table.read().missing
    del setting.table.values[Key("BTCUSDT", 3, OWNER).encode()]
    assert setting.table.read().missing, "what was written is not there"


async def test_a_snapshot_that_fails_is_remembered_until_one_succeeds(setting: Setting) -> None:
    running = asyncio.create_task(setting.checkpoints.run())
    await setting.acknowledge(OSError("broker away"))
    await running
    assert setting.symbol.failing_since is not None
    again = asyncio.create_task(setting.checkpoints.run())
    await setting.acknowledge()
    await again
    assert setting.symbol.failing_since is None


async def test_after_a_failure_the_state_is_written_again(setting: Setting) -> None:
    """The changelog may have lost what was sent."""
    running = asyncio.create_task(setting.checkpoints.run())
    await setting.acknowledge(OSError("broker away"))
    await running
    setting.table.values.clear()
    setting.apply(2)
    again = asyncio.create_task(setting.checkpoints.run())
    await setting.acknowledge()
    await again
    assert setting.table.offset() == 2


async def test_a_checkpoint_that_is_given_up_is_taken_again(setting: Setting) -> None:
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
        symbol.applied(1)
        setting.owned.symbols[name] = symbol
    written: list[set[str]] = []
    for _ in range(2):
        before = set(setting.table.values)
        running = asyncio.create_task(checkpoints.run())
        while not running.done():
            if setting.table.sends:
                await setting.acknowledge()
            await asyncio.sleep(0)
        written.append({Key.decode(key).symbol for key in setting.table.values.keys() - before - {COVERAGE_KEY}})
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


async def test_snapshots_that_a_hand_over_has_begun_end_with_it(setting: Setting) -> None:
    for number in range(30):
        symbol = OwnedSymbol(SymbolEngine(f"S{number}", EngineParams()), 0, epoch=3)
        symbol.engine.apply(trade(1, symbol=f"S{number}"), 1)
        setting.owned.symbols[f"S{number}"] = symbol
    running = asyncio.create_task(setting.checkpoints.hand_over())
    await setting.sending()
    assert len(setting.table.sends) < 31, "the others have not had their turn"
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.sleep(0)
    assert all(sent.cancelled() for sent in setting.table.sends)
    assert all(symbol.saved == -1 for symbol in setting.owned.symbols.values())
