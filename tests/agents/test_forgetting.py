"""Giving up symbols of which nothing comes any more."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

import pytest
from aiokafka.errors import KafkaError

from agents.admission import Admission, NotAdmittedError
from agents.forgetting import BRIEF_NS, BRIEF_SILENCE_NS, Forgetting
from agents.owned import Owned, OwnedSymbol, PartitionProgress
from app.microstructure.engine import STATE_VERSION, EngineParams, SymbolEngine
from app.stores.base import Publication, StoreUnavailableError
from app.stores.memory import MemoryReportStore
from support.markets import START, trade
from tables.records import Snapshot, Writer, coverage, read, symbol_of

AFTER_SEC = 3600
AFTER_NS = AFTER_SEC * 10**9
LATER = AFTER_NS + 10**9


@dataclass
class Table:
    """A table in a dictionary, and which steps were taken."""

    values: dict[bytes, bytes] = field(default_factory=dict)
    steps: list[str] = field(default_factory=list)
    refuses: bool = False

    def keys_of(self, _: int, symbols: Collection[str]) -> set[bytes]:
        return {key for key in self.values if symbol_of(key) in symbols}

    async def write(self, _: int, values: Mapping[bytes, bytes]) -> None:
        if self.refuses:
            raise KafkaError("away")
        self.steps.append("write")
        self.values.update(values)

    async def delete(self, _: int, keys: Iterable[bytes]) -> None:
        self.steps.append("delete")
        for key in keys:
            self.values.pop(key, None)


class Store(MemoryReportStore):
    """A store that may be away, and in which something may happen while it is asked to forget."""

    def __init__(self) -> None:
        super().__init__(300, now=lambda: 0.0)
        self.away = False
        self.meanwhile: Callable[[], object] | None = None

    async def forget(self, epochs: Mapping[str, int]) -> set[str]:
        if self.away:
            raise StoreUnavailableError("away")
        gone = await super().forget(epochs)
        if self.meanwhile is not None:
            self.meanwhile()
        return gone


class Setting:
    """BTCUSDT, which goes on, and DOGEUSDT, both saved and reported at offset 3 of partition 0."""

    def __init__(self) -> None:
        self.owned, self.table, self.store = Owned(), Table(), Store()
        self.owned.partitions[0] = PartitionProgress(position=3, told=3)
        self.admission = Admission(self.owned, room=2, monotonic=lambda: 0.0)
        self.publishing = asyncio.Lock()
        self.forgetting = Forgetting(
            *(self.owned, self.table, self.store, self.admission, AFTER_SEC, self.publishing, asyncio.Lock())
        )

    async def begin(self) -> None:
        for name in ("BTCUSDT", "DOGEUSDT"):
            symbol = OwnedSymbol(SymbolEngine(name, EngineParams()), 0, epoch=4, epoch_saved=True, saved=3, covered=3)
            symbol.engine.apply(trade(1, symbol=name), 3)
            self.owned.symbols[name] = symbol
            snapshot = Snapshot(symbol.engine.snapshot(), STATE_VERSION, None, 3, 3)
            self.table.values |= symbol.writer.records(name, 4, snapshot).writes
            await self.store.take_epochs({name: 3})
            await self.store.publish([Publication(name, 4, b"{}")])
        self.table.values |= coverage(None, 3, {"BTCUSDT": 3, "DOGEUSDT": 3})

    @property
    def silent(self) -> OwnedSymbol:
        return self.owned.symbols["DOGEUSDT"]

    def hear_btc(self, at_ns: int) -> None:
        self.owned.symbols["BTCUSDT"].heard_ns = at_ns

    async def has_all(self) -> bool:
        found = read(self.table.values.items(), STATE_VERSION, None)
        return "DOGEUSDT" in self.owned.symbols and bool(found["DOGEUSDT"].candidates)


@pytest.fixture
async def setting() -> Setting:
    made = Setting()
    await made.begin()
    return made


async def test_a_silent_symbol_goes_from_state_table_and_store(setting: Setting) -> None:
    setting.hear_btc(LATER)
    await setting.forgetting.run()
    assert setting.owned.symbols.keys() == {"BTCUSDT"}
    found = read(setting.table.values.items(), STATE_VERSION, None)
    assert found.keys() == {"BTCUSDT"}
    assert found["BTCUSDT"].candidates
    assert not found["BTCUSDT"].missing
    assert await setting.store.symbols(10) == ["BTCUSDT"]
    assert await setting.store.take_epochs({"DOGEUSDT": 0}) == {"DOGEUSDT": 5}, "epochs go on rising"


async def test_the_table_is_told_before_snapshots_go_so_that_none_is_missed(setting: Setting) -> None:
    setting.hear_btc(LATER)
    await setting.forgetting.run()
    assert setting.table.steps == ["write", "delete"]


async def test_nobody_is_forgotten_before_the_time_has_passed(setting: Setting) -> None:
    setting.hear_btc(AFTER_NS)
    await setting.forgetting.run()
    assert await setting.has_all()


async def test_nobody_is_forgotten_while_nothing_comes_at_all(setting: Setting) -> None:
    setting.hear_btc(LATER)
    setting.silent.heard_ns = LATER
    for _ in range(3):
        await setting.forgetting.run()
    assert await setting.has_all()


@pytest.mark.parametrize("why", ["not saved", "uncovered", "fenced"])
async def test_what_is_not_safely_saved_stays(setting: Setting, why: str) -> None:
    setting.hear_btc(LATER)
    if why == "not saved":
        setting.silent.epoch_saved = False
    elif why == "uncovered":
        setting.silent.uncovered = 3
    else:
        setting.silent.fenced = True
    await setting.forgetting.run()
    assert await setting.has_all()


async def test_the_report_of_a_newer_writer_stays(setting: Setting) -> None:
    await setting.store.take_epochs({"DOGEUSDT": 4})
    setting.hear_btc(LATER)
    await setting.forgetting.run()
    assert await setting.has_all()
    assert await setting.store.symbols(10) == ["BTCUSDT", "DOGEUSDT"]


async def test_an_outage_of_the_source_forgets_nobody_however_partitions_move(setting: Setting) -> None:
    setting.owned.symbols["BTCUSDT"].since_ns = LATER
    await setting.forgetting.run()
    assert await setting.has_all()


async def test_a_symbol_that_was_taken_over_is_silent_since_then(setting: Setting) -> None:
    setting.silent.since_ns = AFTER_NS
    setting.hear_btc(LATER)
    await setting.forgetting.run()
    assert await setting.has_all()
    setting.hear_btc(AFTER_NS + LATER)
    await setting.forgetting.run()
    assert not await setting.has_all()


async def test_what_a_newer_owner_wrote_stays(setting: Setting) -> None:
    snapshot = Snapshot(setting.silent.engine.snapshot(), STATE_VERSION, None, 9, 9)
    theirs = Writer("other").records("DOGEUSDT", 5, snapshot).writes
    setting.table.values |= theirs
    setting.hear_btc(LATER)
    await setting.forgetting.run()
    assert theirs.items() <= setting.table.values.items()


async def test_a_changelog_that_refuses_is_asked_again_the_next_time(setting: Setting) -> None:
    setting.hear_btc(LATER)
    setting.table.refuses = True
    await setting.forgetting.run()
    assert await setting.has_all()
    setting.table.refuses = False
    await setting.forgetting.run()
    assert not await setting.has_all()


async def test_a_report_that_is_on_its_way_does_not_come_behind(setting: Setting) -> None:
    setting.hear_btc(LATER)
    async with setting.publishing:
        running = asyncio.create_task(setting.forgetting.run())
        await asyncio.sleep(0)
        await setting.store.publish([Publication("DOGEUSDT", 4, b"{}")])
    await running
    assert await setting.store.symbols(10) == ["BTCUSDT"]


async def test_a_store_that_is_away_is_asked_again_the_next_time(setting: Setting) -> None:
    setting.hear_btc(LATER)
    setting.store.away = True
    await setting.forgetting.run()
    assert await setting.has_all()
    setting.store.away = False
    await setting.forgetting.run()
    assert not await setting.has_all()


def fill(setting: Setting) -> None:
    with pytest.raises(NotAdmittedError):
        setting.admission.require("NEWUSDT", 0)


@pytest.mark.parametrize(
    ("full", "lived_ns", "silent_ns", "goes"),
    [
        (True, 0, BRIEF_SILENCE_NS + 1, True),
        (True, BRIEF_NS - 1, BRIEF_SILENCE_NS + 1, True),
        (True, BRIEF_NS, BRIEF_SILENCE_NS + 1, False),
        (True, 0, BRIEF_SILENCE_NS, False),
        (False, 0, BRIEF_SILENCE_NS + 1, False),
    ],
)
async def test_in_a_full_partition_a_name_that_was_heard_only_briefly_goes_sooner(
    setting: Setting, full: bool, lived_ns: int, silent_ns: int, goes: bool
) -> None:
    if full:
        fill(setting)
    setting.silent.admitted_ns = 1
    setting.silent.heard_ns = 1 + lived_ns
    setting.hear_btc(setting.silent.heard_ns + silent_ns)
    await setting.forgetting.run()
    assert ("DOGEUSDT" not in setting.owned.symbols) == goes


@pytest.mark.parametrize(("known_ns", "goes"), [(BRIEF_NS - 1, True), (BRIEF_NS, False)])
async def test_that_another_worker_heard_of_it_only_briefly_is_told_by_its_events(
    setting: Setting, known_ns: int, goes: bool
) -> None:
    fill(setting)
    silent = setting.silent
    silent.engine.apply(trade(2, at=START + known_ns, symbol="DOGEUSDT"), 4)
    silent.since_ns = 5
    setting.hear_btc(silent.since_ns + BRIEF_SILENCE_NS + 1)
    await setting.forgetting.run()
    assert ("DOGEUSDT" not in setting.owned.symbols) == goes


async def test_a_name_that_was_heard_of_for_long_here_may_say_what_it_likes(setting: Setting) -> None:
    fill(setting)
    setting.silent.admitted_ns, setting.silent.heard_ns = 1, 1 + BRIEF_NS
    assert setting.silent.engine.watched_ns < BRIEF_NS
    setting.hear_btc(setting.silent.heard_ns + BRIEF_SILENCE_NS + 1)
    await setting.forgetting.run()
    assert "DOGEUSDT" in setting.owned.symbols


def _an_event_comes(setting: Setting) -> None:
    setting.silent.applied(4)


def _an_event_comes_and_is_saved(setting: Setting) -> None:
    setting.silent.heard_ns = LATER


def _partitions_are_handed_over(setting: Setting) -> None:
    setting.owned.handed_over = True


@pytest.mark.parametrize("befalls", [_an_event_comes, _an_event_comes_and_is_saved, _partitions_are_handed_over])
async def test_what_befalls_a_symbol_while_redis_answers_keeps_it(
    setting: Setting, befalls: Callable[[Setting], None]
) -> None:
    setting.hear_btc(LATER)
    setting.store.meanwhile = partial(befalls, setting)
    await setting.forgetting.run()
    assert await setting.has_all()
