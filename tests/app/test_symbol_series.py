from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge

from app.symbol_series import OTHER, SymbolSeries


class Setting:
    """Two metrics with a registry of their own."""

    def __init__(self, limit: int = 3) -> None:
        self.registry = CollectorRegistry()
        self.events = Counter("events", "", ["symbol", "type"], registry=self.registry)
        self.age = Gauge("age", "", ["symbol"], registry=self.registry)
        self.series = SymbolSeries(limit)

    def shown(self) -> set[str]:
        return {s.labels["symbol"] for family in self.registry.collect() for s in family.samples}

    def count(self, symbol: str, kind: str = "trade") -> None:
        self.series.of(self.events, symbol, kind).inc()

    def counted(self, symbol: str, kind: str = "trade") -> float | None:
        return self.registry.get_sample_value("events_total", {"symbol": symbol, "type": kind})


def test_a_symbol_that_is_forgotten_is_gone_from_every_metric() -> None:
    setting = Setting()
    for symbol in ("BTCUSDT", "ETHUSDT"):
        setting.count(symbol, "trade")
        setting.count(symbol, "depth")
        setting.series.of(setting.age, symbol).set(5)
    setting.series.forget("BTCUSDT")
    assert setting.shown() == {"ETHUSDT"}


def test_a_symbol_that_comes_back_begins_anew_and_is_counted() -> None:
    setting = Setting()
    setting.count("BTCUSDT")
    setting.series.forget("BTCUSDT")
    setting.count("BTCUSDT")
    assert setting.counted("BTCUSDT") == 1


def test_symbols_beyond_the_limit_share_one_series() -> None:
    setting = Setting(limit=2)
    for symbol in ("A1", "B1", "C1", "D1", "C1"):
        setting.count(symbol)
    assert setting.shown() == {"A1", "B1", OTHER}
    assert setting.counted(OTHER) == 3
    assert not setting.series.admits("C1")


def test_what_all_others_share_takes_nobodys_room_and_is_not_forgotten() -> None:
    setting = Setting(limit=1)
    setting.count("A1")
    setting.count("B1")
    setting.series.keep([])
    setting.count(OTHER)
    setting.series.keep([])
    assert setting.counted(OTHER) == 2
    assert not setting.series.admits(OTHER)
    setting.count("C1")
    assert setting.shown() == {"C1", OTHER}


def test_room_that_became_free_is_given_to_the_next() -> None:
    setting = Setting(limit=1)
    setting.count("A1")
    setting.series.keep([])
    setting.count("B1")
    assert setting.shown() == {"B1"}


def test_forgetting_what_is_not_known_does_nothing() -> None:
    setting = Setting()
    setting.series.forget("BTCUSDT")
    assert setting.shown() == set()


SYMBOLS = st.sampled_from([f"S{number}" for number in range(8)])


@given(st.lists(st.one_of(SYMBOLS, st.frozensets(SYMBOLS)), max_size=40), st.integers(1, 5))
def test_whatever_comes_and_goes_there_are_never_more_symbols_than_allowed(
    steps: list[str | frozenset[str]], limit: int
) -> None:
    setting = Setting(limit)
    for step in steps:
        if isinstance(step, str):
            setting.count(step)
        else:
            setting.series.keep(step)
            assert setting.shown() - {OTHER} <= step
        assert len(setting.shown() - {OTHER}) <= limit
