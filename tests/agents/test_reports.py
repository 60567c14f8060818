from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from agents.owned import Owned, OwnedSymbol
from agents.ownership import Ownership
from agents.reports import Reports
from app.microstructure import rfc3339
from app.microstructure.engine import EngineParams, SymbolEngine
from app.stores.base import Publication, StoreUnavailableError
from app.stores.memory import MemoryReportStore
from support.contracts import validate_report
from support.markets import SECOND, START, trade


class Setting:
    """Symbols of one worker, a store, and clocks moved by hand."""

    def __init__(self) -> None:
        self.monotonic = 100 * SECOND
        self.store = MemoryReportStore(300, now=lambda: 0.0)
        self.owned = Owned()
        self.wall = START + 5 * SECOND
        self.reports = Reports(self.owned, self.store, "node-1", lambda: self.monotonic, lambda: self.wall)

    async def report(self) -> dict[str, Any]:
        """Return the next report of BTCUSDT."""
        await self.reports.run()
        return validate_report(await self.store.read("BTCUSDT") or b"")

    def add(self, name: str, epoch: int | None = 1, events: int = 1) -> OwnedSymbol:
        symbol = OwnedSymbol(SymbolEngine(name, EngineParams()), partition=2, epoch=epoch, arrived_ns=self.monotonic)
        for offset in range(events):
            symbol.engine.apply(trade(offset, symbol=name), offset)
        self.owned.symbols[name] = symbol
        return symbol


@pytest.fixture
def setting() -> Setting:
    return Setting()


async def test_every_symbol_with_an_epoch_and_an_event_is_published(setting: Setting) -> None:
    setting.add("BTCUSDT")
    setting.add("ETHUSDT", epoch=None)
    setting.add("SOLUSDT", events=0)
    await setting.reports.run()
    report = validate_report(await setting.store.read("BTCUSDT") or b"")
    assert (report["writer"], report["data_age_ms"]) == ({"nodeId": "node-1", "writerToken": 1}, 5000)
    assert await setting.store.read("ETHUSDT") is None
    assert await setting.store.read("SOLUSDT") is None


async def test_ingestion_ages_by_the_monotonic_clock_alone(setting: Setting) -> None:
    setting.add("BTCUSDT")
    setting.monotonic += 3 * SECOND
    await setting.reports.run()
    report = validate_report(await setting.store.read("BTCUSDT") or b"")
    assert (report["ingestion"]["status"], report["ingestion"]["last_event_age_ms"]) == ("degraded", 3000)


async def test_the_time_of_a_symbols_reports_never_falls_and_ages_go_by_the_clock_as_it_is(setting: Setting) -> None:
    setting.add("BTCUSDT")
    times, ages = [], []
    for sec in (5, 6, 4, -3600, 6, 7, 3600, 3601):
        setting.wall = START + sec * SECOND
        report = await setting.report()
        assert report["generated_at"] == rfc3339.format_nanos(report["updatedAt"] * 10**6)
        times.append(report["updatedAt"] - START // 10**6)
        ages.append(report["data_age_ms"])
    assert times == [5000, 6000, 6000, 6000, 6000, 7000, 3_600_000, 3_601_000]
    assert ages == [5000, 6000, 4000, 0, 6000, 7000, 3_600_000, 3_601_000]


async def test_each_symbol_has_a_time_of_its_own(setting: Setting) -> None:
    setting.add("BTCUSDT").updated_ns = START + 9 * SECOND
    setting.add("ETHUSDT")
    assert (await setting.report())["updatedAt"] == (START + 9 * SECOND) // 10**6
    other = validate_report(await setting.store.read("ETHUSDT") or b"")
    assert other["updatedAt"] == (START + 5 * SECOND) // 10**6


@pytest.mark.parametrize(
    ("ahead_sec", "falls"), [(-3600, False), (-5, False), (0, False), (5, False), (60, False), (61, True), (3600, True)]
)
async def test_a_successor_whose_clock_is_behind_goes_on_from_the_time_of_the_last_report(
    setting: Setting, ahead_sec: int, falls: bool
) -> None:
    """Two workers with clocks of their own; the first is `ahead_sec` ahead of the second."""
    setting.add("BTCUSDT", epoch=(await setting.store.take_epochs({"BTCUSDT": 0}))["BTCUSDT"])
    setting.wall += ahead_sec * SECOND
    before = await setting.report()
    second = Setting()
    second.store = setting.store
    second.reports = Reports(second.owned, second.store, "node-2", lambda: second.monotonic, lambda: second.wall)
    symbol = second.add("BTCUSDT", epoch=None)
    ownership = Ownership(
        second.owned, EngineParams(), lambda *_: {}, recorded, second.store, wall_ns=lambda: second.wall
    )

    await ownership.take_epochs()
    after = await second.report()

    assert (symbol.epoch, after["writer"]["nodeId"]) == (2, "node-2")
    assert (after["updatedAt"] < before["updatedAt"]) is falls
    assert after["updatedAt"] == (second.wall if falls else max(setting.wall, second.wall)) // 10**6
    assert after["data_age_ms"] == 5000, "the age is by the second worker's own clock"
    second.wall += 90 * SECOND
    assert (await second.report())["updatedAt"] == max(second.wall, symbol.updated_ns) // 10**6


async def recorded(partition: int, values: Mapping[bytes, bytes]) -> None:
    """Take what goes into the table."""


async def test_a_refused_report_fences_the_symbol_at_once(setting: Setting) -> None:
    symbol = setting.add("BTCUSDT")
    await setting.store.take_epochs({"BTCUSDT": 1})
    await setting.reports.run()
    assert symbol.fenced
    await setting.reports.run()
    assert await setting.store.read("BTCUSDT") is None


async def test_one_symbols_fault_does_not_silence_the_others(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    faulty, _ = setting.add("BTCUSDT"), setting.add("ETHUSDT")

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(faulty.engine, "report", fail)
    await setting.reports.run()
    assert await setting.store.read("BTCUSDT") is None
    assert await setting.store.read("ETHUSDT") is not None


async def test_a_store_that_is_away_fences_nobody(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    symbol = setting.add("BTCUSDT")

    async def away(_: Sequence[Publication]) -> list[bool]:
        raise StoreUnavailableError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(setting.store, "publish", away)
        await setting.reports.run()
    assert not symbol.fenced
    await setting.reports.run()
    assert await setting.store.read("BTCUSDT") is not None


class SlowStore(MemoryReportStore):
    """A store for which a report takes 1 ms of a clock moved by hand; `rounds` has the symbols of each round trip."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(300, now=lambda: 0.0)
        self._setting = setting
        self.rounds: list[list[str]] = []

    async def publish(self, publications: Sequence[Publication]) -> list[bool]:
        self._setting.monotonic += len(publications) * SECOND // 1000
        self.rounds.append([each.symbol for each in publications])
        return await super().publish(publications)

    def taken(self) -> list[str]:
        """The symbols published since the last question, in their order."""
        every = [name for some in self.rounds for name in some]
        self.rounds.clear()
        return every


@pytest.fixture
def crowd(setting: Setting) -> tuple[Setting, SlowStore]:
    """A worker with five symbols that move and 995 that are silent, each of which had its first report."""
    store = SlowStore(setting)
    clocks = (lambda: setting.monotonic), (lambda: setting.wall)
    setting.reports = Reports(setting.owned, store, "node-1", *clocks, silent_sec=0.3)
    for number in range(995):
        setting.add(f"S{number:03}")
    for number in range(5):
        setting.add(f"M{number}")
    return setting, store


async def first_reports(setting: Setting, store: SlowStore) -> None:
    for _ in range(5):
        await setting.reports.run_first()
        assert len(store.rounds[-1]) == 200, "the others have a turn in between"
    await setting.reports.run_first()
    assert len(set(store.taken())) == 1000


async def test_what_moves_is_published_first_and_the_silent_take_turns(crowd: tuple[Setting, SlowStore]) -> None:
    setting, store = crowd
    await first_reports(setting, store)
    seen: list[str] = []
    for cycle in range(3):
        for number in range(5):
            setting.owned.symbols[f"M{number}"].engine.apply(trade(10 + cycle, symbol=f"M{number}"), 10 + cycle)
        await setting.reports.run()
        first, *others = store.rounds
        assert sorted(first) == ["M0", "M1", "M2", "M3", "M4"]
        assert len(others) == 2, "200 of the silent fit into 300 ms, and another 200 are begun"
        seen += store.taken()[5:]
    assert set(seen) == {f"S{number:03}" for number in range(995)}
    assert len(seen) == 1200
    assert len(set(seen[:995])) == 995, "nobody comes twice before all have come"


async def test_all_that_moves_is_published_however_long_it_takes(crowd: tuple[Setting, SlowStore]) -> None:
    setting, store = crowd
    await first_reports(setting, store)
    for name, symbol in setting.owned.symbols.items():
        symbol.engine.apply(trade(1, symbol=name), 1)
    await setting.reports.run()
    assert len(store.rounds) == 5
    assert len(set(store.taken())) == 1000


async def test_a_report_that_was_not_written_is_no_report(crowd: tuple[Setting, SlowStore]) -> None:
    setting, store = crowd
    setting.owned.symbols["M0"].epoch = 3
    await store.take_epochs({"M0": 8})
    await setting.reports.run()
    assert "M0" not in setting.reports._published_offset


async def test_what_goes_while_others_are_published_is_not(crowd: tuple[Setting, SlowStore]) -> None:
    setting, store = crowd
    await first_reports(setting, store)
    publish = store.publish

    async def partition_goes(publications: Sequence[Publication]) -> list[bool]:
        setting.owned.symbols.clear()
        return await publish(publications)

    store.publish = partition_goes  # type: ignore[method-assign]
    await setting.reports.run()
    assert len(store.rounds) == 1
