from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.microstructure.book import OrderBook
from app.microstructure.events import OrderBookDeltas, TradeTick
from app.microstructure.metrics.depth import depth
from app.microstructure.metrics.flash_crash import FlashCrash, FlashCrashParams, FlashCrashState, MarketSample
from app.microstructure.metrics.level1 import level1
from app.microstructure.report import Anomaly, Severity
from support.markets import SECOND, START, trade
from support.tapes import tape_events

DEFAULTS = FlashCrashParams()
Observation = TradeTick | MarketSample
RANK = {"low": 0, "medium": 1, "high": 2}


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


class Reference:
    """The definition, over all samples and trades, gone through again for every value."""

    def __init__(self, params: FlashCrashParams) -> None:
        self.params = params
        self.samples: list[tuple[MarketSample, list[TradeTick]]] = []
        self.trades: list[TradeTick] = []
        self._flows: dict[tuple[int, int, int], int] = {}
        self._known: dict[int, tuple[float, float, float] | None] = {}

    def update(self, observation: Observation) -> None:
        if isinstance(observation, TradeTick):
            self.trades.append(observation)
        elif not self.samples or self.second(observation) > self.second(self.samples[-1][0]):
            self.samples.append((observation, list(self.trades)))

    def second(self, sample: MarketSample) -> int:
        return sample.ts_event // SECOND

    def flow(self, number: int, first: int, last: int) -> int:
        """Return the net flow, in 10⁻⁸, of the seconds `first` to `last` before sample `number`, 1 being the last."""
        key = number, first, last
        if key not in self._flows:
            sample, trades = self.samples[number]
            until = self.second(sample)
            inside = [each for each in trades if last <= until - int(each.ts_event) // SECOND <= first]
            units = [(round(each.payload.qty * 1e8), each.payload.aggressor_side) for each in inside]
            self._flows[key] = sum(qty if side == "buy" else -qty for qty, side in units)
        return self._flows[key]

    def past(self, number: int) -> list[int]:
        oldest = self.second(self.samples[number][0]) - self.params.baseline_sec
        return [before for before in range(number) if self.second(self.samples[before][0]) > oldest]

    def raw(self, number: int) -> tuple[float, float, float] | None:
        """Return spread, depth and selling against what was usual; later events do not change it."""
        if number not in self._known:
            self._known[number] = self.compared(number)
        return self._known[number]

    def compared(self, number: int) -> tuple[float, float, float] | None:
        past = self.past(number)
        if len(past) < self.params.min_samples:
            return None
        sample = self.samples[number][0]
        spread = sample.spread_bps / np.median([self.samples[each][0].spread_bps for each in past])
        depth = sample.bid_depth / np.median([self.samples[each][0].bid_depth for each in past])
        usual_flow = float(np.mean([abs(self.flow(each, 1, 1)) for each in past]))
        return spread, depth, -self.flow(number, 1, 1) / usual_flow if usual_flow else 0.0

    def shows(self, number: int) -> tuple[bool, bool, bool]:
        raw, params = self.raw(number), self.params
        if raw is None:
            return False, False, False
        wide = self.samples[number][0].spread_bps >= params.min_spread_bps
        return raw[0] >= params.spread_multiple and wide, raw[1] <= params.depth_share, raw[2] >= params.flow_multiple

    def stands(self, number: int) -> tuple[bool, bool, bool]:
        """Return which signs held in enough samples in a row."""
        row = range(number - self.params.confirm_samples + 1, number + 1)
        if row[0] < 0 or any(
            self.second(self.samples[each][0]) - self.second(self.samples[each - 1][0]) > self.params.max_gap_sec
            for each in row[1:]
        ):
            return False, False, False
        wide, thin, sold = (all(held) for held in zip(*[self.shows(each) for each in row], strict=True))
        seconds = self.params.confirm_samples
        recent, before = self.flow(number, seconds, 1), self.flow(number, 2 * seconds, seconds + 1)
        return wide, thin, sold and recent <= self.params.acceleration * before

    def risk(self, number: int) -> tuple[int, Severity] | None:
        """Return how many signs there are, and how grave that is."""
        if self.raw(number) is None:
            return None
        now = self.second(self.samples[number][0])
        strengths = []
        for sign in range(3):
            stood = [each for each in range(number + 1) if self.stands(each)[sign]]
            if stood and now - self.second(self.samples[stood[-1]][0]) <= self.params.linger_sec:
                raw = self.raw(stood[-1])
                assert raw is not None
                strengths.append(
                    raw[0] / self.params.spread_multiple
                    if sign == 0
                    else self.params.depth_share / raw[1]
                    if sign == 1
                    else raw[2] / self.params.flow_multiple
                )
        if len(strengths) < 2:
            return None
        strong = all(strength >= self.params.strong for strength in strengths)
        return len(strengths), "high" if len(strengths) == 3 else "medium" if strong else "low"

    def value(self, as_of: int) -> list[tuple[str, str]]:
        hold, found = self.params.hold_sec * SECOND, None
        for number, (sample, _) in enumerate(self.samples):
            risk = self.risk(number)
            if risk is None:
                continue
            count, severity = risk
            if found is not None and sample.ts_event < found[0] + hold and RANK[severity] < RANK[found[2]]:
                found = (sample.ts_event, found[1], found[2])
            else:
                found = (sample.ts_event, f"{count} of 3", severity)
        return [(found[2], found[1])] if found is not None and as_of < found[0] + hold else []


def told(anomalies: Sequence[Anomaly]) -> list[tuple[str, str]]:
    return [(found.severity, found.note[:6]) for found in anomalies]


QUICK = FlashCrashParams(baseline_sec=12, min_samples=3, confirm_samples=2, linger_sec=2, max_gap_sec=2, hold_sec=3)
SPREADS, DEPTHS = st.sampled_from((2.0, 2.0, 2.5, 7.0, 9.0, 17.0)), st.sampled_from((8.0, 16.0, 20.0, 40.0, 50.0))
FLOWS = st.tuples(st.integers(-3, 1), st.sampled_from((-40.0, -8.0, -4.0, -1.0, 1.0, 2.0)))
ANY = st.tuples(st.sampled_from((1, 1, 1, 1, 2, 3, 20)), SPREADS, DEPTHS, st.lists(FLOWS, max_size=3))
CALM = st.tuples(st.just(1), st.just(2.0), st.just(50.0), st.sampled_from(([(0, 1.0)], [(0, -1.0)])))
CRASH = st.tuples(
    st.just(1),
    st.sampled_from((2.0, 9.0, 17.0)),
    st.sampled_from((8.0, 16.0, 50.0)),
    st.sampled_from(([(0, -8.0)], [(1, -8.0)], [(0, -40.0)], [])),
)
SECONDS = st.tuples(
    st.lists(CALM, min_size=1, max_size=5), st.lists(st.one_of(CRASH, CRASH, CRASH, CALM, ANY), max_size=20)
).map(lambda parts: parts[0] + parts[1])


def observed(seconds: Sequence[tuple[int, float, float, list[tuple[int, float]]]]) -> list[Observation]:
    observations: list[Observation] = []
    now = START
    for pause, spread, bids, flows in seconds:
        for late, net in flows:
            side = "buy" if net > 0 else "sell"
            at = now + late * SECOND // 2
            observations.append(trade(len(observations), 100.0, abs(net), side, at=at))  # type: ignore[arg-type]
        now += pause * SECOND
        observations.append(MarketSample(now, spread, bids, 60.0, 100.0))
    return observations


@settings(max_examples=150, deadline=None)
@given(SECONDS)
def test_risks_equal_the_definition_over_the_whole_history_at_every_prefix(
    seconds: list[tuple[int, float, float, list[tuple[int, float]]]],
) -> None:
    detector, reference = FlashCrash(QUICK), Reference(QUICK)
    for observation in observed(seconds):
        detector.update(observation)
        reference.update(observation)
        if isinstance(observation, MarketSample):
            for later in (0, SECOND, 3 * SECOND):
                assert told(detector.value(observation.ts_event + later)) == reference.value(
                    observation.ts_event + later
                )


@given(SECONDS, st.data())
def test_a_restored_detector_goes_on_as_if_nothing_had_happened(
    seconds: list[tuple[int, float, float, list[tuple[int, float]]]], data: st.DataObject
) -> None:
    observations = observed(seconds)
    cut = data.draw(st.integers(0, len(observations)))
    whole, first = FlashCrash(QUICK), FlashCrash(QUICK)
    for observation in observations:
        whole.update(observation)
    for observation in observations[:cut]:
        first.update(observation)
        first.value(int(observation.ts_event))
    packed = msgspec.msgpack.encode(first.snapshot())
    resumed = FlashCrash.restore(msgspec.msgpack.decode(packed, type=FlashCrashState), QUICK)
    for observation in observations[cut:]:
        resumed.update(observation)
    assert msgspec.msgpack.encode(resumed.snapshot()) == msgspec.msgpack.encode(whole.snapshot())
    assert msgspec.msgpack.encode(first.snapshot()) == packed


def sampled(path: Path) -> list[Observation]:
    """Return the tape's trades, and its book whenever a whole second was crossed."""
    book, observations = OrderBook(), list[Observation]()
    now, due = 0, None
    for event in tape_events(path):
        now = max(now, int(event.ts_event))
        if isinstance(event, TradeTick):
            observations.append(event)
        elif isinstance(event, OrderBookDeltas):
            book.apply_deltas(event.payload, int(event.ts_event))
        if due is not None and now >= due:
            bids, asks = book.top(20)
            top, sums = level1(bids, asks), depth(bids, asks)
            assert top.spread_bps is not None
            assert top.mid_price is not None
            assert sums.sum_bid is not None
            assert sums.sum_ask is not None
            observations.append(MarketSample(now, top.spread_bps, sums.sum_bid, sums.sum_ask, top.mid_price))
        if due is None or now >= due:
            due = now // SECOND * SECOND + SECOND
    return observations


@pytest.mark.tape
def test_risks_equal_the_definition_on_the_tape(tape_path: Path) -> None:
    eager = FlashCrashParams(confirm_samples=1, min_samples=10, baseline_sec=30, depth_share=0.7, flow_multiple=1.0)
    detector, reference = FlashCrash(eager), Reference(eager)
    found = 0
    for number, observation in enumerate(sampled(tape_path)[:2000]):
        detector.update(observation)
        reference.update(observation)
        if number % 200 == 199:
            newest = reference.samples[-1][0].ts_event
            expected = reference.value(newest)
            assert told(detector.value(newest)) == expected
            found += len(expected)
    assert found > 0


@pytest.mark.tape
def test_nothing_is_found_on_the_recorded_market(tape_path: Path) -> None:
    detector = FlashCrash()
    for observation in sampled(tape_path):
        detector.update(observation)
        assert detector.value(int(observation.ts_event)) == ()
