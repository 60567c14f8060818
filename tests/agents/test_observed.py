from collections.abc import Iterator

import pytest
from prometheus_client import REGISTRY

from agents.observed import FORGET_NS, EventRates, Observed
from agents.owned import Owned, OwnedSymbol
from app import telemetry
from app.microstructure.engine import EngineParams, SymbolEngine
from support.markets import SECOND, START, trade


class Setting:
    """Symbols of one worker, and clocks moved by hand."""

    def __init__(self) -> None:
        self.now = 100_000 * SECOND
        self.wall = START
        self.owned = Owned()
        self.published: dict[str, int] = {}
        self.observed = Observed(self.owned, self.published, lambda: self.now, lambda: self.wall)

    def add(self, *names: str) -> None:
        for name in names:
            self.owned.symbols[name] = OwnedSymbol(SymbolEngine(name, EngineParams()), partition=0)

    def hear(self, *names: str) -> None:
        """An event of each, of now."""
        for name in names:
            engine = self.owned.symbols[name].engine
            engine.apply(trade(engine.offset + 1, at=self.wall, symbol=name), engine.offset + 1)

    def later(self, nanos: int) -> None:
        self.now += nanos
        self.wall += nanos

    def shown(self) -> set[str]:
        self.observed.cycle()
        return {s.labels["symbol"] for s in next(iter(telemetry.STREAM_LAG_MS.collect())).samples}


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


@pytest.fixture
def setting() -> Iterator[Setting]:
    telemetry.SERIES.keep(())
    yield Setting()
    telemetry.SERIES.keep(())


def test_a_symbol_is_shown_from_its_first_event_until_it_goes(setting: Setting) -> None:
    setting.add("BTCUSDT", "ETHUSDT")
    assert setting.shown() == set()
    setting.hear("BTCUSDT")
    assert setting.shown() == {"BTCUSDT"}
    telemetry.SERIES.of(telemetry.CACHE_WRITES, "BTCUSDT", "ok").inc()
    del setting.owned.symbols["BTCUSDT"]
    assert setting.shown() == set()
    assert value("context8_cache_writes", symbol="BTCUSDT", status="ok") is None


def test_ages_are_those_of_the_scrape_and_not_of_the_last_cycle(setting: Setting) -> None:
    setting.add("BTCUSDT")
    setting.hear("BTCUSDT")
    setting.published["BTCUSDT"] = setting.now
    setting.observed.cycle()
    setting.later(7 * SECOND)
    assert value("context8_report_age_ms", symbol="BTCUSDT") == 7000
    assert value("context8_stream_lag_ms", symbol="BTCUSDT") == 7000


def test_a_report_that_was_never_written_ages_since_the_symbol_came(setting: Setting) -> None:
    setting.add("BTCUSDT")
    setting.hear("BTCUSDT")
    setting.observed.cycle()
    setting.later(9 * SECOND)
    setting.observed.cycle()
    assert value("context8_report_age_ms", symbol="BTCUSDT") == 9000


def test_a_wall_clock_that_is_behind_shows_no_lag(setting: Setting) -> None:
    setting.add("BTCUSDT")
    setting.hear("BTCUSDT")
    setting.wall -= 5 * SECOND
    setting.observed.cycle()
    assert value("context8_stream_lag_ms", symbol="BTCUSDT") == 0


def test_a_symbol_that_left_the_market_is_not_shown_any_more(setting: Setting) -> None:
    setting.add("BTCUSDT", "LEFTUSDT")
    setting.hear("BTCUSDT", "LEFTUSDT")
    assert setting.shown() == {"BTCUSDT", "LEFTUSDT"}
    setting.later(FORGET_NS)
    setting.hear("BTCUSDT")
    assert setting.shown() == {"BTCUSDT", "LEFTUSDT"}
    setting.later(SECOND)
    setting.hear("BTCUSDT")
    assert setting.shown() == {"BTCUSDT"}
    setting.hear("LEFTUSDT")
    assert setting.shown() == {"BTCUSDT", "LEFTUSDT"}


def test_when_nothing_comes_at_all_every_symbol_stays(setting: Setting) -> None:
    setting.add("BTCUSDT", "ETHUSDT")
    setting.hear("BTCUSDT", "ETHUSDT")
    setting.observed.cycle()
    setting.later(10 * FORGET_NS)
    assert setting.shown() == {"BTCUSDT", "ETHUSDT"}


def test_a_symbol_that_left_before_a_takeover_is_not_shown_by_the_next_owner(setting: Setting) -> None:
    setting.add("BTCUSDT", "LEFTUSDT")
    setting.hear("LEFTUSDT")
    setting.later(2 * FORGET_NS)
    setting.hear("BTCUSDT")
    setting.observed.cycle()
    setting.later(SECOND)
    setting.hear("BTCUSDT")
    assert setting.shown() == {"BTCUSDT"}


def test_a_symbol_that_is_far_behind_and_catches_up_is_shown(setting: Setting) -> None:
    setting.add("BTCUSDT", "BEHINDUSDT")
    setting.hear("BEHINDUSDT")
    setting.later(2 * FORGET_NS)
    setting.hear("BTCUSDT")
    setting.observed.cycle()
    engine = setting.owned.symbols["BEHINDUSDT"].engine
    engine.apply(trade(1, at=START + 1, symbol="BEHINDUSDT"), 1)
    assert setting.shown() == {"BTCUSDT", "BEHINDUSDT"}


def test_rates_are_of_two_seconds_and_fall_to_zero(setting: Setting) -> None:
    rates = EventRates(lambda: setting.now)
    rates.count("BTCUSDT", "trade_tick", 6)
    setting.later(SECOND)
    rates.cycle()
    assert value("context8_events_rate", symbol="BTCUSDT", type="trade_tick") is None
    rates.count("BTCUSDT", "trade_tick", 2)
    setting.later(SECOND)
    rates.cycle()
    assert value("context8_events_rate", symbol="BTCUSDT", type="trade_tick") == 4
    assert value("context8_events_total", symbol="BTCUSDT", type="trade_tick") == 8
    setting.later(2 * SECOND)
    rates.cycle()
    assert value("context8_events_rate", symbol="BTCUSDT", type="trade_tick") == 0


def test_a_forgotten_symbol_has_no_rate_any_more(setting: Setting) -> None:
    rates = EventRates(lambda: setting.now)
    rates.count("BTCUSDT", "trade_tick", 6)
    setting.later(2 * SECOND)
    rates.cycle()
    telemetry.SERIES.forget("BTCUSDT")
    setting.later(2 * SECOND)
    rates.cycle()
    assert value("context8_events_rate", symbol="BTCUSDT", type="trade_tick") is None
