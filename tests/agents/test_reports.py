from collections.abc import Sequence

import pytest

from agents.owned import Owned, OwnedSymbol
from agents.reports import Reports
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
        self.reports = Reports(self.owned, self.store, "node-1", lambda: self.monotonic, lambda: START + 5 * SECOND)

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
