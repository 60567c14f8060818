"""The detector equals the definition over the whole history, on drawn streams and on the recorded market."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.microstructure.book import BookChange, OrderBook
from app.microstructure.events import OrderBookDeltas, TradeTick
from app.microstructure.metrics.quantity_history import QuantityHistory
from app.microstructure.metrics.spoofing import Spoofing, SpoofingParams, SpoofingState
from support.book_feed import BookFeed, Observation
from support.examples import examples
from support.markets import SECOND
from support.spoofing import LARGE, MS
from support.spoofing_reference import Reference
from support.tapes import tape_events

QUICK = SpoofingParams(
    min_placements=2,
    window_sec=8,
    lifetime_sec=5,
    explain_ms=300,
    requote_ms=400,
    routine_count=2,
    routine_sec=12,
    learn_sec=1,
    hold_sec=4,
    one_sided=1.0,
    mean_multiple=1.0,
    medium_multiple=4.0,
    high_multiple=8.0,
)
OFFSETS = (6, 12, 12.5, 20, 30)
BID = st.sampled_from((True, True, True, False))
LEVEL = st.tuples(
    BID, st.sampled_from((*OFFSETS, *OFFSETS, 1, 3, 60)), st.sampled_from((0.0, 1.0, 3.0, 3.03, 5.0, 8.0))
)
SHOWN = st.lists(LEVEL, min_size=1, max_size=4).map(lambda levels: ("show", levels))
TAKEN_BACK = st.tuples(st.just("take back"), BID, st.integers(1, len(OFFSETS)))
TRADED = st.tuples(st.just("trade"), BID, st.sampled_from(OFFSETS), st.sampled_from((0.5, 3.0, 5.0)), st.integers(0, 4))
OTHER = st.sampled_from((("nothing",), ("restart",)))
STEPS = st.lists(
    st.tuples(
        st.sampled_from((0, 100, 300, 400, 500, 1000, 2500)),
        st.one_of(SHOWN, SHOWN, SHOWN, TAKEN_BACK, TAKEN_BACK, TAKEN_BACK, TRADED, OTHER),
    ),
    min_size=5,
    max_size=40,
)


def price_of(bid: bool, offset: float) -> float:
    return round(100 + (-offset if bid else offset) / 100, 3)


def played(steps: Sequence[tuple[int, tuple[Any, ...]]]) -> list[Observation]:
    """Return what an engine would hand on for such steps."""
    feed = BookFeed()
    feed.restart()
    for pause, step in steps:
        feed.later(pause / 1000)
        match step:
            case "show", levels:
                bids = [(price_of(True, offset), qty) for bid, offset, qty in levels if bid]
                feed.set(bids, [(price_of(False, offset), qty) for bid, offset, qty in levels if not bid])
            case "take back", bid, count:
                gone = [(price_of(bid, offset), 0.0) for offset in OFFSETS[-count:]]
                feed.set(gone if bid else (), () if bid else gone)
            case "trade", bid, offset, qty, ago:
                feed.trade(price_of(bid, offset), qty, "sell" if bid else "buy", ago=ago / 10)
            case ("nothing",):
                feed.set()
            case _:
                feed.restart()
    return feed.observations


def large_sizes(observations: Sequence[Observation], unknown: int) -> list[float | None]:
    count = sum(isinstance(each, BookChange) and each.known and not each.restarted for each in observations)
    return [None if number < unknown else LARGE for number in range(count)]


@settings(max_examples=examples(400))
@given(STEPS, st.integers(0, 3))
def test_findings_equal_the_definition_over_the_whole_history_at_every_prefix(
    steps: list[tuple[int, tuple[Any, ...]]], unknown: int
) -> None:
    observations = played(steps)
    sizes = large_sizes(observations, unknown)
    given_sizes = iter(sizes)
    detector, reference = Spoofing(lambda: next(given_sizes), QUICK), Reference(sizes, QUICK)
    for observation in observations:
        detector.update(observation)
        reference.update(observation)
        newest = max(int(each.ts_event) for each in reference.history)
        for later in (0, 400, 4000):
            assert detector.value(newest + later * MS) == reference.value(newest + later * MS)


@given(STEPS, st.data())
def test_a_restored_detector_goes_on_as_if_nothing_had_happened(
    steps: list[tuple[int, tuple[Any, ...]]], data: st.DataObject
) -> None:
    observations = played(steps)
    cut = data.draw(st.integers(0, len(observations)))
    whole, first = Spoofing(lambda: LARGE, QUICK), Spoofing(lambda: LARGE, QUICK)
    for observation in observations:
        whole.update(observation)
    for observation in observations[:cut]:
        first.update(observation)
        first.value(int(observation.ts_event) + 5 * SECOND)
    packed = msgspec.msgpack.encode(first.snapshot())
    resumed = Spoofing.restore(msgspec.msgpack.decode(packed, type=SpoofingState), lambda: LARGE, QUICK)
    for observation in observations[cut:]:
        resumed.update(observation)
    assert msgspec.msgpack.encode(resumed.snapshot()) == msgspec.msgpack.encode(whole.snapshot())
    assert msgspec.msgpack.encode(first.snapshot()) == packed


def on_tape(path: Path) -> list[Observation]:
    book, observations = OrderBook(), list[Observation]()
    for event in tape_events(path):
        if isinstance(event, TradeTick):
            observations.append(event)
        elif isinstance(event, OrderBookDeltas):
            change = book.apply_deltas(event.payload, int(event.ts_event))
            assert change is not None
            observations.append(change)
    return observations


@pytest.mark.tape
def test_findings_equal_the_definition_on_the_tape(tape_path: Path) -> None:
    eager = SpoofingParams(
        min_placements=2, one_sided=0.5, mean_multiple=1.0, learn_sec=0, routine_count=10, hold_sec=2, lifetime_sec=30
    )
    observations = on_tape(tape_path)[:2500]
    sizes = [LARGE] * len(observations)
    detector, reference = Spoofing(lambda: LARGE, eager), Reference(sizes, eager)
    found = 0
    for number, observation in enumerate(observations):
        detector.update(observation)
        reference.update(observation)
        if number % 100 == 99:
            newest = max(int(each.ts_event) for each in reference.history)
            expected = reference.value(newest + SECOND)
            assert detector.value(newest + SECOND) == expected
            found += len(expected)
    assert found > 0


@pytest.mark.tape
def test_nothing_is_found_on_the_recorded_market(tape_path: Path) -> None:
    history = QuantityHistory()
    detector = Spoofing(history.large)
    for observation in on_tape(tape_path):
        if isinstance(observation, BookChange):
            history.update(observation)
        detector.update(observation)
        assert detector.value(int(observation.ts_event)) == ()
