from collections import defaultdict
from collections.abc import Mapping

import pytest
from aiokafka.errors import KafkaTimeoutError

from agents.owned import Owned
from agents.ownership import Ownership, offset_of
from app.membership import Membership
from app.microstructure.compact import Compactor
from app.microstructure.engine import EngineParams, SymbolEngine
from app.stores.base import EPOCH_LIMIT, Publication, StoreUnavailableError
from app.stores.memory import MemoryReportStore
from support.markets import trade
from tables.parts import Found, Key, Ledger, newest

PARAMS = EngineParams()


def saved(symbol: str, epoch: int, offset: int) -> dict[bytes, bytes]:
    engine = SymbolEngine(symbol, PARAMS)
    engine.apply(trade(1, symbol=symbol), offset)
    return Ledger().changes(symbol, epoch, offset, *Compactor().split(engine.state())).writes


class Setting:
    """A worker's bookkeeping over a table in a dictionary and a store in memory."""

    def __init__(self) -> None:
        self.table: defaultdict[int, dict[bytes, bytes]] = defaultdict(dict)
        self.store = MemoryReportStore(300, now=lambda: 0.0)
        self.owned = Owned()
        self.generation = 0
        self.ownership = Ownership(self.owned, PARAMS, self._load, self._write, self.store, lambda: 55)

    def assign(self, partitions: list[int], *, member: str = "me", ends: dict[int, int] | None = None) -> None:
        """The next rebalance."""
        self.generation += 1
        self.ownership.assign(partitions, Membership(member, self.generation), ends)

    def epoch_taken(self, symbol: str) -> int:
        return max(Key.decode(key).epoch for key in self.table[3] if Key.decode(key).symbol == symbol)

    def _load(self, partition: int, end: int | None) -> dict[str, Found]:
        return newest(self.table[partition].items(), end)

    async def _write(self, partition: int, values: Mapping[bytes, bytes]) -> None:
        self.table[partition].update(values)


@pytest.fixture
def setting() -> Setting:
    return Setting()


async def test_a_partition_that_comes_brings_its_symbols_with_a_new_epoch(setting: Setting) -> None:
    setting.table[3].update(saved("BTCUSDT", epoch=6, offset=40))
    setting.assign([3])
    symbol = setting.owned.symbols["BTCUSDT"]
    assert (symbol.engine.offset, symbol.table_epoch, symbol.epoch, symbol.arrived_ns) == (40, 6, None, 55)
    await setting.ownership.take_epochs()
    assert symbol.epoch == 7
    assert symbol.needs_snapshot, "the new epoch must reach the table"


async def test_a_partition_that_goes_takes_its_symbols_along(setting: Setting) -> None:
    setting.table[3].update(saved("BTCUSDT", 1, 40))
    setting.table[4].update(saved("ETHUSDT", 1, 50))
    setting.assign([3, 4])
    setting.assign([4])
    assert set(setting.owned.symbols) == {"ETHUSDT"}
    assert set(setting.owned.partitions) == {4}


async def test_a_symbol_that_stays_keeps_its_hot_state_and_its_epoch(setting: Setting) -> None:
    setting.table[3].update(saved("BTCUSDT", 1, 40))
    setting.assign([3])
    await setting.ownership.take_epochs()
    symbol = setting.owned.symbols["BTCUSDT"]
    symbol.engine.apply(trade(2), 41)
    setting.assign([3, 4])
    await setting.ownership.take_epochs()
    assert setting.owned.symbols["BTCUSDT"] is symbol
    assert (symbol.epoch, symbol.engine.offset) == (2, 41)


async def test_a_symbol_that_somebody_else_wrote_in_between_is_taken_from_the_table(setting: Setting) -> None:
    setting.table[3].update(saved("BTCUSDT", 1, 40))
    setting.assign([3])
    await setting.ownership.take_epochs()
    setting.table[3].update(saved("BTCUSDT", 5, 90))
    setting.assign([3], member="me again")
    await setting.ownership.take_epochs()
    symbol = setting.owned.symbols["BTCUSDT"]
    assert (symbol.engine.offset, symbol.epoch) == (90, 6)


async def test_a_worker_that_was_out_of_the_group_takes_new_epochs_for_what_comes_back(setting: Setting) -> None:
    """Somebody may have had it in between, taken an epoch and died before a snapshot told of it."""
    setting.table[3].update(saved("BTCUSDT", 1, 40))
    setting.assign([3])
    await setting.ownership.take_epochs()
    setting.owned.symbols["BTCUSDT"].engine.apply(trade(2), 41)
    await setting.store.take_epochs({"BTCUSDT": 2})
    setting.assign([3], member="me again")
    await setting.ownership.take_epochs()
    symbol = setting.owned.symbols["BTCUSDT"]
    assert (symbol.epoch, symbol.engine.offset) == (4, 41), "its own state is the newest"
    assert symbol.uncovered == 41, "and nobody has it but itself"


async def test_what_was_processed_before_an_absence_says_nothing_about_what_may_be_committed(setting: Setting) -> None:
    setting.table[3].update(saved("BTCUSDT", 1, 10))
    setting.assign([3])
    setting.owned.partitions[3].position = 190
    setting.assign([3], member="me again")
    assert setting.owned.committable() == {}


async def test_an_epoch_is_in_the_table_before_anything_is_written_under_it(setting: Setting) -> None:
    setting.table[3].update(saved("BTCUSDT", 1, 40))
    setting.assign([3])
    await setting.ownership.take_epochs()
    assert setting.epoch_taken("BTCUSDT") == 2
    setting.store = MemoryReportStore(300, now=lambda: 0.0)
    successor = Ownership(Owned(), PARAMS, setting._load, setting._write, setting.store)
    successor.assign([3], Membership("other", 7))
    await successor.take_epochs()
    assert successor._owned.symbols["BTCUSDT"].epoch == 3, "an emptied Redis repeats none"


async def test_without_the_changelog_no_epoch_is_used(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object) -> None:
        raise KafkaTimeoutError

    setting.table[3].update(saved("BTCUSDT", 1, 40))
    setting.assign([3])
    with monkeypatch.context() as patch:
        patch.setattr(setting.ownership, "_write", away)
        await setting.ownership.take_epochs()
    assert setting.owned.symbols["BTCUSDT"].epoch is None
    await setting.ownership.take_epochs()
    assert setting.owned.symbols["BTCUSDT"].epoch == 3


async def test_a_snapshot_that_cannot_be_read_gives_an_empty_engine_but_keeps_the_epoch(
    setting: Setting,
) -> None:
    setting.table[3] = {Key("BTCUSDT", 9).encode(): b"damaged"}
    setting.assign([3])
    await setting.ownership.take_epochs()
    symbol = setting.owned.symbols["BTCUSDT"]
    assert (symbol.engine.offset, symbol.epoch) == (-1, 10)


async def test_nothing_is_published_before_the_replay_reached_what_readers_saw(setting: Setting) -> None:
    setting.table[3].update(saved("BTCUSDT", epoch=1, offset=40))
    await setting.store.publish([Publication("BTCUSDT", 1, b'{"provenance":{"offset":42}}')])
    setting.assign([3])
    await setting.ownership.take_epochs()
    symbol = setting.owned.symbols["BTCUSDT"]
    ready = []
    for offset in (41, 42, 43):
        ready.append(symbol.may_publish)
        symbol.engine.apply(trade(offset), offset)
    assert ready == [False, False, True]


@pytest.mark.parametrize(
    ("report", "offset"), [(None, -1), (b"{", -1), (b"{}", -1), (b'{"provenance":{"offset":7}}', 7)]
)
def test_the_offset_of_a_report_is_known_or_minus_one(report: bytes | None, offset: int) -> None:
    assert offset_of(report) == offset


async def test_an_emptied_store_cannot_make_epochs_fall(setting: Setting) -> None:
    setting.table[3].update(saved("BTCUSDT", 6, 40))
    setting.store = MemoryReportStore(300, now=lambda: 0.0)
    setting.assign([3])
    await setting.ownership.take_epochs()
    assert setting.owned.symbols["BTCUSDT"].epoch == 7


async def test_a_store_that_is_away_is_asked_again_in_the_next_cycle(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_: object) -> dict[str, int]:
        raise StoreUnavailableError("gone")

    setting.table[3].update(saved("BTCUSDT", 6, 40))
    setting.assign([3])
    with monkeypatch.context() as patch:
        patch.setattr(setting.store, "take_epochs", away)
        await setting.ownership.take_epochs()
    assert setting.owned.symbols["BTCUSDT"].epoch is None
    await setting.ownership.take_epochs()
    assert setting.owned.symbols["BTCUSDT"].epoch == 7


async def test_a_symbol_whose_epochs_are_used_up_is_not_written_any_more(setting: Setting) -> None:
    setting.table[3].update(saved("BTCUSDT", EPOCH_LIMIT, 40))
    setting.assign([3])
    await setting.ownership.take_epochs()
    symbol = setting.owned.symbols["BTCUSDT"]
    assert symbol.fenced
    assert symbol.epoch is None


@pytest.mark.parametrize("hot", [False, True])
async def test_a_state_of_an_offset_beyond_the_log_is_of_another_log(setting: Setting, hot: bool) -> None:
    """A topic that was made anew counts from 0, and a state of the old one would skip all of it."""
    setting.table[3].update(saved("BTCUSDT", 4, 1000))
    if hot:
        setting.assign([3], ends={3: 1001})
        await setting.ownership.take_epochs()
        await setting.store.publish([Publication("BTCUSDT", 5, b'{"provenance":{"offset":1000}}')])
    setting.assign([3], ends={3: 1000})
    symbol = setting.owned.symbols["BTCUSDT"]
    assert symbol.engine.offset == -1
    await setting.ownership.take_epochs()
    assert symbol.epoch == (6 if hot else 5), "epochs go on"
    assert symbol.publish_from == -1, "offsets that readers have seen mean nothing any more"


async def test_a_state_of_the_last_offset_of_the_log_is_kept(setting: Setting) -> None:
    setting.table[3].update(saved("BTCUSDT", 4, 1000))
    setting.assign([3], ends={3: 1001})
    assert setting.owned.symbols["BTCUSDT"].engine.offset == 1000
