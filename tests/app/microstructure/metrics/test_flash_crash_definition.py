"""The detector equals the definition over the whole history, on drawn streams and on the recorded market."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.microstructure.book import OrderBook
from app.microstructure.events import OrderBookDeltas, TradeTick
from app.microstructure.metrics.depth import depth
from app.microstructure.metrics.flash_crash import FlashCrash, FlashCrashParams, FlashCrashState, MarketSample
from app.microstructure.metrics.level1 import level1
from app.microstructure.report import Anomaly
from support.examples import examples
from support.flash_crash_reference import Observation, Reference
from support.markets import SECOND, START, trade
from support.tapes import tape_events


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


@settings(max_examples=examples(150))
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
