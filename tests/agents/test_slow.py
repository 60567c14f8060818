from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
from prometheus_client import REGISTRY

from agents.owned import Owned, OwnedSymbol
from agents.slow import SlowCycles, compute_here, compute_in
from app.microstructure.engine import EngineParams, SlowSections, SymbolEngine
from support.markets import SECOND, trade

PERIOD_MS = 2000
NAMES = ("BTCUSDT", "ETHUSDT", "SOLUSDT")


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("context8_slow_cycles_total", {"outcome": outcome}) or 0.0


class Setting:
    """Symbols of one worker, a clock moved by hand, and a lag that is said to be there or not."""

    def __init__(self) -> None:
        self.now = 100 * SECOND
        self.lag = False
        self.owned = Owned()
        for name in NAMES:
            engine = SymbolEngine(name, EngineParams())
            engine.apply(trade(1, symbol=name), 0)
            self.owned.symbols[name] = OwnedSymbol(engine, 0, epoch=1, arrived_ns=self.now)
        self.cycles = SlowCycles(self.owned, PERIOD_MS, lambda: self.lag, compute_here, lambda: self.now)

    async def later(self, seconds: float) -> int:
        """Move the clock, run, and return how many symbols have sections of this moment."""
        self.now += int(seconds * SECOND)
        await self.cycles.run()
        sections = [symbol.slow for symbol in self.owned.symbols.values()]
        return sum(each is not None and each.as_of == self.as_of() for each in sections)

    def as_of(self) -> int:
        return next(iter(self.owned.symbols.values())).as_of(self.now)


@pytest.fixture
def setting() -> Setting:
    return Setting()


async def test_every_symbol_is_computed_at_once_and_then_once_a_period(setting: Setting) -> None:
    assert await setting.later(0) == len(NAMES)
    done = sum([await setting.later(0.25) for _ in range(8 * 10)])
    assert done == pytest.approx(10 * len(NAMES), abs=len(NAMES))


async def test_symbols_of_one_moment_are_spread_over_the_period(setting: Setting) -> None:
    await setting.later(0)
    assert len({symbol.slow_due_ns for symbol in setting.owned.symbols.values()}) == len(NAMES)


async def test_while_the_worker_lags_slow_cycles_are_skipped_and_counted(setting: Setting) -> None:
    await setting.later(0)
    setting.lag = True
    before = counted("skipped")
    assert await setting.later(5) == 0
    assert counted("skipped") == before + len(NAMES)
    setting.lag = False
    assert await setting.later(5) == len(NAMES)


async def test_a_symbol_without_any_sections_is_computed_even_under_lag(setting: Setting) -> None:
    setting.lag = True
    assert await setting.later(0) == len(NAMES)


async def test_one_symbols_fault_does_not_keep_the_others_waiting(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> SlowSections:
        raise ZeroDivisionError

    monkeypatch.setattr(setting.owned.symbols["ETHUSDT"].engine, "slow_sections", fail)
    assert await setting.later(0) == len(NAMES) - 1


async def test_a_process_of_its_own_gives_the_same_sections(setting: Setting) -> None:
    engine = setting.owned.symbols["BTCUSDT"].engine
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        elsewhere = await compute_in(pool, EngineParams())(engine, setting.as_of())
    assert elsewhere == engine.slow_sections(setting.as_of())
