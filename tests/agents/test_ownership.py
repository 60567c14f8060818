from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError

from agents import restoring
from agents.owned import Owned, OwnedSymbol
from agents.ownership import NOTHING, Ownership, Published, published
from agents.restoring import PartitionLog
from app import telemetry
from app.membership import Membership
from app.microstructure.engine import STATE_VERSION, EngineParams, SymbolEngine
from app.stores.base import EPOCH_LIMIT, Publication, StoreUnavailableError
from app.stores.memory import MemoryReportStore
from support.markets import SECOND, START, trade
from tables.records import Key, Snapshot, SymbolRecords, Writer, coverage, read, taken

PARAMS = EngineParams()


LOG = "cluster/topic"


def saved(
    symbol: str, epoch: int, offset: int, *, version: int = STATE_VERSION, log: str | None = LOG, covers: int = -1
) -> dict[bytes, bytes]:
    engine = SymbolEngine(symbol, PARAMS)
    engine.apply(trade(1, symbol=symbol), offset)
    snapshot = Snapshot(engine.snapshot(), version, log, offset, max(offset, covers))
    return Writer("other").records(symbol, epoch, snapshot).writes


class Setting:
    """A worker's bookkeeping over a table in a dictionary and a store in memory."""

    def __init__(self) -> None:
        self.table: defaultdict[int, dict[bytes, bytes]] = defaultdict(dict)
        self.store = MemoryReportStore(300, now=lambda: 0.0)
        self.owned = Owned()
        self.generation = 0
        self.here = PartitionLog(LOG, 0, 10_000, None)
        self.starts: dict[int, int] = {}
        self.wall_ns = START
        self.ownership = Ownership(
            self.owned, PARAMS, self._load, self._write, self.store, lambda: 55, lambda: self.wall_ns
        )

    def assign(self, partitions: list[int], *, member: str = "me", **here: Any) -> None:
        """The next rebalance; `here` is what differs in Kafka from `self.here`."""
        self.generation += 1
        self.here = self.here._replace(**here)
        membership = Membership(member, self.generation)
        self.starts = self.ownership.assign(dict.fromkeys(partitions, self.here), membership)

    def epoch_taken(self, symbol: str) -> int:
        return max(Key.decode(key).epoch for key in self.table[3] if Key.decode(key).symbol == symbol)

    def _load(self, partition: int, version: int, log: str | None) -> dict[str, SymbolRecords]:
        return read(self.table[partition].items(), version, log)

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
    setting.assign([3], member="me again", committed=11)
    assert setting.owned.committable() == {3: 11}
    assert setting.starts == {3: 11}


async def test_an_epoch_is_in_the_table_before_anything_is_written_under_it(setting: Setting) -> None:
    setting.table[3].update(saved("BTCUSDT", 1, 40))
    setting.assign([3])
    await setting.ownership.take_epochs()
    assert setting.epoch_taken("BTCUSDT") == 2
    setting.store = MemoryReportStore(300, now=lambda: 0.0)
    successor = Ownership(Owned(), PARAMS, setting._load, setting._write, setting.store)
    successor.assign({3: setting.here}, Membership("other", 7))
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
    setting.table[3] = {Key("BTCUSDT", 9, "other").encode(): b"damaged"}
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
    ("report", "found"),
    [
        *((nothing, NOTHING) for nothing in (None, b"{", b"{}", b'{"updatedAt":5}')),
        (b'{"provenance":{"offset":7},"updatedAt":"\xff"}', NOTHING),
        (b'{"provenance":{"offset":7},"updatedAt":' + b"[" * 1500 + b"]" * 1500 + b"}", NOTHING),
        (b'{"provenance":{"offset":7}}', Published(7, 0)),
        (b'{"provenance":{"offset":7},"updatedAt":1700000000123}', Published(7, 1700000000123 * 10**6)),
        (b'{"provenance":{"offset":7},"updatedAt":"now"}', Published(7, 0)),
    ],
)
def test_what_a_report_stands_for_is_known_or_nothing(report: bytes | None, found: Published) -> None:
    assert published(report) == found


@pytest.mark.parametrize(("ahead_sec", "believed"), [(-3600, True), (-1, True), (60, True), (61, False), (3600, False)])
async def test_the_time_goes_on_from_the_predecessors_unless_its_clock_was_wrong(
    setting: Setting, caplog: pytest.LogCaptureFixture, ahead_sec: int, believed: bool
) -> None:
    count = telemetry.ERRORS.labels("ownership", "clock_ahead")._value.get()
    updated_ns = setting.wall_ns + ahead_sec * SECOND
    report = b'{"provenance":{"offset":42},"updatedAt":%d}' % (updated_ns // 10**6)
    await setting.store.publish([Publication("BTCUSDT", 1, report)])
    setting.table[3].update(saved("BTCUSDT", epoch=1, offset=40))
    setting.assign([3])

    await setting.ownership.take_epochs()

    assert setting.owned.symbols["BTCUSDT"].updated_ns == (updated_ns if believed else 0)
    assert telemetry.ERRORS.labels("ownership", "clock_ahead")._value.get() - count == (not believed)
    said = [record for record in caplog.records if "ahead of the store's clock" in record.getMessage()]
    assert len(said) == (not believed)


async def test_the_time_of_our_own_reports_survives_an_absence_from_the_group(setting: Setting) -> None:
    setting.table[3].update(saved("BTCUSDT", 1, 40))
    setting.assign([3])
    await setting.ownership.take_epochs()
    setting.owned.symbols["BTCUSDT"].updated_ns = setting.wall_ns + 3600 * SECOND
    setting.assign([3], member="me again")
    await setting.ownership.take_epochs()
    assert setting.owned.symbols["BTCUSDT"].updated_ns == setting.wall_ns + 3600 * SECOND


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


class TestAnotherLog:
    """A topic that was made again counts from 0, and a state of the old one would skip all of it."""

    @pytest.mark.parametrize("hot", [False, True])
    @pytest.mark.parametrize(
        "here",
        [
            pytest.param({"log": "cluster/made again", "end": 90_000}, id="grown past the old offset"),
            pytest.param({"log": "another/topic", "end": 90_000}, id="another cluster"),
            pytest.param({"log": None, "end": 1000}, id="shorter, without ids"),
        ],
    )
    async def test_its_states_are_not_used(self, setting: Setting, hot: bool, here: dict[str, Any]) -> None:
        setting.table[3].update(saved("BTCUSDT", 4, 1000))
        if hot:
            setting.assign([3])
            await setting.ownership.take_epochs()
            await setting.store.publish([Publication("BTCUSDT", 5, b'{"provenance":{"offset":1000}}')])
        before = dict(setting.table[3])
        setting.assign([3], **here, committed=1001)
        symbol = setting.owned.symbols["BTCUSDT"]
        assert symbol.engine.offset == -1
        assert symbol.engine.hole is not None
        assert symbol.engine.hole.reason == "other_log"
        await setting.ownership.take_epochs()
        assert symbol.epoch == (6 if hot else 5), "epochs go on"
        assert symbol.publish_from == -1, "offsets that readers have seen mean nothing any more"
        assert not symbol.stale_keys, "what others wrote stays"
        assert before.items() <= setting.table[3].items()

    async def test_a_committed_offset_beyond_its_end_is_of_another(self, setting: Setting) -> None:
        setting.assign([3], committed=500, begin=0, end=30)
        assert setting.starts == {3: 0}

    async def test_a_state_of_the_last_offset_of_the_log_is_kept(self, setting: Setting) -> None:
        setting.table[3].update(saved("BTCUSDT", 4, 1000))
        setting.assign([3], end=1001)
        assert setting.owned.symbols["BTCUSDT"].engine.offset == 1000


class TestWhereReadingBegins:
    async def test_at_what_the_oldest_snapshot_covers_although_the_group_is_further(self, setting: Setting) -> None:
        setting.table[3].update(saved("BTCUSDT", 4, 40) | saved("ETHUSDT", 2, 90))
        setting.assign([3], committed=100)
        assert setting.starts == {3: 41}

    async def test_a_quiet_symbol_keeps_nobody_waiting(self, setting: Setting) -> None:
        setting.table[3].update(saved("BTCUSDT", 4, 40) | saved("ETHUSDT", 2, 90))
        setting.table[3].update(coverage(LOG, 95, {"BTCUSDT": 40, "ETHUSDT": 90}))
        setting.assign([3], committed=100)
        assert setting.starts == {3: 96}

    async def test_at_the_groups_offset_if_that_is_first(self, setting: Setting) -> None:
        setting.table[3].update(saved("BTCUSDT", 4, 40))
        setting.assign([3], committed=30)
        assert setting.starts == {3: 30}, "a symbol of which there is nothing yet may have events there"

    async def test_without_an_offset_of_the_group_where_states_go_on(self, setting: Setting) -> None:
        """The broker forgets offsets of groups that were away for a week."""
        setting.table[3].update(saved("BTCUSDT", 4, 40) | coverage(LOG, 38, {"BTCUSDT": 40}))
        setting.assign([3, 4], committed=None, begin=7)
        assert setting.starts == {3: 39, 4: 7}

    async def test_from_the_beginning_where_nobody_knows_what_is_covered(self, setting: Setting) -> None:
        """An event in front of the only snapshot may be of a symbol of which there is no record yet."""
        setting.table[3].update(saved("BTCUSDT", 4, 40))
        setting.assign([3], committed=None, begin=7)
        assert setting.starts == {3: 7}

    async def test_from_the_first_event_of_a_symbol_that_nobody_has_saved(self, setting: Setting) -> None:
        """Another that appeared later must not hide it."""
        early, late = Key("BTCUSDT", 4, "w"), Key("ETHUSDT", 4, "w")
        setting.table[3].update(taken(early, STATE_VERSION, LOG, -1) | taken(late, STATE_VERSION, LOG, 7))
        setting.assign([3], committed=None)
        assert setting.starts == {3: 0}

    async def test_what_stays_goes_on_where_it_was(self, setting: Setting) -> None:
        setting.table[3].update(saved("BTCUSDT", 4, 40))
        setting.assign([3], committed=41)
        setting.owned.partitions[3].position = 70
        setting.assign([3], committed=50)
        assert setting.starts == {3: 71}

    async def test_an_epoch_that_was_taken_before_the_first_snapshot_leads_back_to_the_first_event(
        self, setting: Setting
    ) -> None:
        setting.assign([3], committed=None, begin=5)
        setting.owned.symbols["BTCUSDT"] = OwnedSymbol(SymbolEngine("BTCUSDT", PARAMS), 3, covered=19)
        await setting.ownership.take_epochs()
        setting.owned.symbols.clear()
        setting.assign([3], member="another", committed=60)
        assert setting.starts == {3: 20}


class TestWhatIsMissingIsSaid:
    async def test_a_snapshot_that_was_written_and_is_gone(
        self, setting: Setting, caplog: pytest.LogCaptureFixture
    ) -> None:
        setting.table[3].update(coverage(LOG, 95, {"BTCUSDT": 40}))
        setting.assign([3], committed=100)
        symbol = setting.owned.symbols["BTCUSDT"]
        assert symbol.engine.hole is not None
        assert symbol.engine.hole.reason == "state_lost"
        assert "state lost, begins empty" in caplog.text
        assert setting.starts == {3: 96}

    async def test_an_older_snapshot_in_its_place_costs_a_replay_and_nothing_else(self, setting: Setting) -> None:
        setting.table[3].update(saved("BTCUSDT", 4, 20) | coverage(LOG, 95, {"BTCUSDT": 40}))
        setting.assign([3], committed=100)
        assert setting.owned.symbols["BTCUSDT"].engine.hole is None
        assert setting.starts == {3: 21}

    async def test_events_that_the_topic_no_longer_has(self, setting: Setting) -> None:
        setting.table[3].update(saved("BTCUSDT", 4, 20) | saved("ETHUSDT", 4, 700))
        setting.assign([3], committed=701, begin=500)
        holes = {name: symbol.engine.hole for name, symbol in setting.owned.symbols.items()}
        assert holes["BTCUSDT"] is not None
        assert holes["BTCUSDT"].reason == "events_expired"
        assert holes["ETHUSDT"] is None
        assert setting.starts == {3: 500}

    async def test_a_partition_that_stays_and_fell_behind_the_retention(self, setting: Setting) -> None:
        setting.table[3].update(saved("BTCUSDT", 4, 20))
        setting.assign([3], committed=21)
        setting.assign([3], begin=500)
        hole = setting.owned.symbols["BTCUSDT"].engine.hole
        assert hole is not None
        assert hole.reason == "events_expired"
        assert setting.starts == {3: 500}


class TestVersionsSideBySide:
    THEIRS = STATE_VERSION + 1

    async def test_a_symbol_of_another_version_begins_empty_says_so_and_leaves_its_snapshot(
        self, setting: Setting
    ) -> None:
        setting.table[3].update(saved("BTCUSDT", 4, 40, version=self.THEIRS))
        setting.assign([3], committed=41)
        symbol = setting.owned.symbols["BTCUSDT"]
        assert symbol.engine.hole is not None
        assert symbol.engine.hole.reason == "state_unreadable"
        assert symbol.stale_keys == set()

    async def test_our_own_older_snapshot_is_replayed_from(self, setting: Setting) -> None:
        """After a rollback: the log still has what the other version did since."""
        setting.table[3].update(saved("BTCUSDT", 4, 40) | saved("BTCUSDT", 5, 900, version=self.THEIRS))
        setting.assign([3], committed=901)
        symbol = setting.owned.symbols["BTCUSDT"]
        assert (symbol.engine.offset, symbol.engine.hole) == (40, None)
        assert setting.starts == {3: 41}
        assert symbol.stale_keys == {b"BTCUSDT/4/other"}, "a worker of the other version may come back"

    async def test_what_the_log_cannot_replay_any_more_is_kept_for_nobody(self, setting: Setting) -> None:
        setting.table[3].update(saved("BTCUSDT", 4, 900) | saved("BTCUSDT", 3, 40, version=self.THEIRS))
        setting.assign([3], committed=901, begin=500)
        assert setting.owned.symbols["BTCUSDT"].stale_keys == {b"BTCUSDT/4/other", b"BTCUSDT/3/other"}

    async def test_one_that_is_too_far_behind_is_not_waited_for(
        self, setting: Setting, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(restoring, "REPLAY_LIMIT", 500)
        setting.table[3].update(saved("BTCUSDT", 4, 40) | saved("BTCUSDT", 5, 900, version=self.THEIRS))
        setting.assign([3], committed=901)
        hole = setting.owned.symbols["BTCUSDT"].engine.hole
        assert hole is not None
        assert hole.reason == "state_unreadable"
        assert setting.starts == {3: 901}


async def test_a_thousand_symbols_get_their_epochs_two_hundred_at_a_time(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read for each would need a connection for each, and the pool ends at a hundred."""
    for number in range(1000):
        setting.table[3].update(saved(f"S{number}USDT", 1, 40))
    setting.assign([3])
    trips: list[str] = []
    for name in ("take_epochs", "read_many"):
        method = getattr(setting.store, name)

        async def counted(*args: Any, name: str = name, method: Any = method) -> Any:
            trips.append(name)
            return await method(*args)

        monkeypatch.setattr(setting.store, name, counted)
    for number in range(1, 6):
        await setting.ownership.take_epochs()
        assert sum(symbol.epoch == 2 for symbol in setting.owned.symbols.values()) == 200 * number
        assert trips == ["take_epochs", "read_many"] * number


async def test_an_epoch_goes_to_the_tenancy_that_it_was_taken_for(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The partition went and came back while Redis answered."""
    setting.table[3].update(saved("BTCUSDT", 1, 40))
    setting.assign([3])
    take = setting.store.take_epochs

    async def slow(above: Mapping[str, int]) -> dict[str, int]:
        epochs = await take(above)
        setting.assign([3], member="me again")
        return epochs

    with monkeypatch.context() as patch:
        patch.setattr(setting.store, "take_epochs", slow)
        await setting.ownership.take_epochs()
    assert setting.owned.symbols["BTCUSDT"].epoch is None
    await setting.ownership.take_epochs()
    assert setting.owned.symbols["BTCUSDT"].epoch == 3
