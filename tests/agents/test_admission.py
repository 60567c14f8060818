"""Which names become symbols."""

from collections.abc import Sequence

import pytest

from agents.admission import MOST_REMEMBERED, REMEMBERED_SEC, Admission, NotAdmittedError
from agents.owned import Owned, OwnedSymbol
from app.microstructure.engine import EngineParams, SymbolEngine


class Setting:
    """A worker with room for two symbols in a partition, and a clock moved by hand."""

    def __init__(self, allowed: Sequence[str] = ("*",)) -> None:
        self.now = 100.0
        self.owned = Owned()
        self.admission = Admission(self.owned, allowed, 2, lambda: self.now)

    def own(self, *names: str, partition: int = 0) -> None:
        for name in names:
            self.owned.symbols[name] = OwnedSymbol(SymbolEngine(name, EngineParams()), partition)

    def refusal(self, name: str, partition: int = 0) -> NotAdmittedError:
        with pytest.raises(NotAdmittedError) as caught:
            self.admission.require(name, partition)
        return caught.value


@pytest.mark.parametrize("name", ["BTCUSDT", "ETHUSDT", "SOLBTC", "A1USDC", "A2USDC"])
def test_a_name_that_matches_one_of_the_patterns_is_admitted(name: str) -> None:
    Setting(("*USDT", "SOLBTC", "A?USDC")).admission.require(name, 0)


@pytest.mark.parametrize("name", ["BTCUSD", "XSOLBTC", "SOLBTCX", "A12USDC", "USDTBTC"])
def test_any_other_name_is_refused_with_what_is_allowed(name: str) -> None:
    error = Setting(("*USDT", "SOLBTC", "A?USDC")).refusal(name)
    assert (error.reason, str(error)) == (
        "symbol_not_allowed",
        f"symbol_not_allowed: WORKER_SYMBOLS does not allow {name}: *USDT, SOLBTC, A?USDC",
    )


def test_a_full_partition_has_no_room_for_a_new_name_and_the_others_have() -> None:
    setting = Setting()
    setting.own("A1", "A2")
    setting.own("B1", partition=1)
    assert setting.refusal("A3").reason == "too_many_symbols"
    setting.admission.require("B2", 1)
    assert setting.admission.full() == {0}


def test_there_is_room_again_a_moment_after_a_symbol_went() -> None:
    setting = Setting()
    setting.own("A1", "A2")
    setting.refusal("A3")
    del setting.owned.symbols["A1"]
    setting.now += 1.1
    setting.admission.require("A3", 0)


def test_only_the_first_event_of_a_name_in_a_minute_needs_a_letter() -> None:
    setting = Setting(("BTCUSDT",))
    assert [setting.refusal(name).known for name in ("X1", "X1", "X2", "X1")] == [False, True, False, True]
    setting.now += REMEMBERED_SEC + 1
    assert not setting.refusal("X1").known


def test_however_many_names_come_letters_and_memory_are_bounded() -> None:
    setting = Setting(("BTCUSDT",))
    letters = 0
    for number in range(5 * MOST_REMEMBERED):
        letters += not setting.refusal(f"X{number}").known
    assert letters == len(setting.admission.refused()) == MOST_REMEMBERED
    setting.now += REMEMBERED_SEC + 1
    assert setting.admission.refused() == {}
    assert not setting.refusal("Y").known
