"""Which signs make a flash-crash risk, how grave, and for how long it is told."""

import msgspec
import pytest

from app.microstructure.metrics.flash_crash import FlashCrash, FlashCrashParams, MarketSample
from app.microstructure.report import Anomaly
from support.markets import SECOND, START, trade

DEFAULTS = FlashCrashParams()


class Market:
    """Whole seconds: in each some net flow, then a sample."""

    def __init__(self, params: FlashCrashParams = DEFAULTS) -> None:
        self.detector = FlashCrash(params)
        self.now = START
        self._trade_id = 0

    def second(
        self,
        count: int = 1,
        *,
        spread: float = 2.0,
        bids: float = 50.0,
        flow: float | None = None,
        mid: float = 100.0,
        gap: int = 1,
    ) -> "Market":
        """Let seconds go by; without `flow` one of 1, bought and sold in turn."""
        for _second in range(count):
            self._trade_id += 1
            net = flow if flow is not None else (-1.0) ** self._trade_id
            if net:
                side = "buy" if net > 0 else "sell"
                self.detector.update(trade(self._trade_id, mid, abs(net), side, at=self.now + SECOND // 2))  # type: ignore[arg-type]
            self.now += gap * SECOND
            self.detector.update(MarketSample(self.now, spread, bids, 60.0, mid))
        return self

    @property
    def found(self) -> tuple[Anomaly, ...]:
        return self.detector.value(self.now)


def usual(params: FlashCrashParams = DEFAULTS) -> Market:
    return Market(params).second(100)


def test_three_signs_are_a_high_risk() -> None:
    market = usual().second(2, flow=-4.0).second(spread=8.0, bids=10.0, flow=-6.0, mid=99.9)
    market.second(2, spread=8.0, bids=10.0, flow=-8.0, mid=99.8)
    note = (
        "3 of 3 signs: spread 4.0 x usual, bid depth 20 % of usual (asks hold 6.0 x as much), "
        "net selling 7 x usual; mid -20.0 bps in 5 s"
    )
    assert market.found == (Anomaly("flash_crash_risk", "high", note),)


@pytest.mark.parametrize(
    ("crash", "signs"),
    [
        ({"spread": 9.0, "bids": 15.0}, ("spread", "bid depth")),
        ({"spread": 9.0, "flow": -4.0}, ("spread", "net selling")),
        ({"bids": 15.0, "flow": -4.0}, ("bid depth", "net selling")),
    ],
)
def test_two_signs_are_a_risk(crash: dict[str, float], signs: tuple[str, ...]) -> None:
    market = usual().second(4, **crash)  # type: ignore[arg-type]
    (found,) = market.found
    assert found.severity == "low"
    assert found.note.startswith("2 of 3 signs")
    assert all(sign in found.note for sign in signs)


def test_two_strong_signs_are_a_medium_risk() -> None:
    assert [found.severity for found in usual().second(3, spread=17.0, bids=9.0).found] == ["medium"]


@pytest.mark.parametrize("alone", [{"spread": 30.0}, {"bids": 1.0}, {"flow": -30.0}], ids=["wide", "thin", "sold"])
def test_one_sign_alone_is_none(alone: dict[str, float]) -> None:
    assert usual().second(20, **alone).found == ()  # type: ignore[arg-type]


def test_a_fast_but_deep_market_is_no_risk() -> None:
    market = usual()
    for number in range(30):
        assert market.second(flow=-3.0 * 1.2**number, bids=120.0, mid=100 - number / 50).found == ()


def test_a_fast_rise_is_no_risk() -> None:
    assert usual().second(6, flow=40.0, bids=10.0).found == ()


@pytest.mark.parametrize(("last", "found"), [(-12.0, False), (-14.9, False), (-15.0, True)])
def test_selling_must_accelerate(last: float, found: bool) -> None:
    market = usual().second(20, flow=-12.0).second(3, flow=last, bids=10.0)
    assert bool(market.found) is found


def test_trades_of_the_second_that_began_do_not_push_out_those_before() -> None:
    market = usual().second(20, flow=-12.0)
    for _second in range(3):
        market.detector.update(trade(0, qty=1e-8, at=market.now + SECOND))
        assert market.second(flow=-14.9, bids=10.0).found == ()


@pytest.mark.parametrize(("samples", "found"), [(2, False), (3, True)])
def test_a_sign_must_hold_for_three_samples(samples: int, found: bool) -> None:
    assert bool(usual().second(samples, spread=9.0, bids=15.0).found) is found


def test_signs_that_come_and_go_are_none() -> None:
    market = usual()
    for _time in range(10):
        assert market.second(2, spread=9.0, bids=5.0).second().found == ()


@pytest.mark.parametrize(("between", "found"), [(1, True), (2, True), (3, False)])
def test_signs_may_come_one_after_the_other(between: int, found: bool) -> None:
    market = usual().second(3, flow=-5.0).second(between).second(3, bids=10.0)
    assert bool(market.found) is found


def test_a_spread_below_one_basis_point_hurts_nobody() -> None:
    market = Market().second(100, spread=0.01)
    assert market.second(3, spread=0.9, bids=5.0).found == ()
    assert market.second(3, spread=1.1, bids=5.0).found != ()


def test_nothing_is_usual_before_the_baseline_has_its_samples() -> None:
    assert Market().second(59).second(3, spread=9.0, bids=5.0).found == ()
    assert Market().second(60).second(3, spread=9.0, bids=5.0).found != ()


def test_a_baseline_that_is_too_old_is_none() -> None:
    market = usual().second(gap=301)
    assert market.second(10, spread=9.0, bids=5.0).found == ()


def test_samples_with_a_gap_between_them_are_not_in_a_row() -> None:
    assert usual().second(2, spread=9.0, bids=5.0).second(spread=9.0, bids=5.0, gap=6).found == ()
    assert usual().second(2, spread=9.0, bids=5.0).second(spread=9.0, bids=5.0, gap=5).found != ()


def test_a_second_sample_of_the_same_second_changes_nothing() -> None:
    market = usual().second(2, spread=9.0, bids=5.0)
    before = market.detector.snapshot()
    market.detector.update(MarketSample(market.now + SECOND - 1, 9.0, 5.0, 60.0, 100.0))
    assert market.detector.snapshot() == before


def test_a_market_in_which_nothing_trades_can_be_at_risk() -> None:
    assert Market().second(100, flow=0.0).second(3, flow=0.0, spread=9.0, bids=5.0).found != ()


def test_a_risk_stays_for_its_time_and_keeps_its_worst() -> None:
    market = usual().second(2, flow=-4.0).second(4, spread=8.0, bids=10.0, flow=-8.0)
    worst = market.found
    assert [found.severity for found in worst] == ["high"]
    market.second(7, spread=8.0, bids=10.0)
    assert market.found == worst
    assert market.detector.value(market.now + 10 * SECOND - 1) == worst
    assert market.detector.value(market.now + 10 * SECOND) == ()


def test_state_is_bounded() -> None:
    market = Market().second(1000)
    for second in range(10_000):
        market.detector.update(trade(10**6 + second, at=START + second * 7 * SECOND))
    state = market.detector.snapshot()
    assert len(state.past) == 300
    assert len(state.flow) <= 12
    assert len(msgspec.msgpack.encode(state)) < 20_000
