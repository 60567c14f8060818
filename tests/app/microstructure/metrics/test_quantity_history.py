from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.microstructure.book import BookChange, LevelChange, OrderBook
from app.microstructure.events import Event, OrderBookDeltas
from app.microstructure.metrics.quantity_history import CHUNK, LAST, MIN_SAMPLES, QuantityHistory, QuantityState
from support.examples import examples
from support.markets import START, streams
from support.tapes import tape_events


def changes_of(events: Sequence[Event]) -> list[BookChange]:
    book = OrderBook()
    found = [book.apply_deltas(each.payload, START) for each in events if isinstance(each, OrderBookDeltas)]
    return [change for change in found if change is not None]


def change_of(quantities: Sequence[float]) -> BookChange:
    """Return a change that leaves `quantities` behind, half of them on each side."""
    levels: list[LevelChange] = [(1.0 + at, 0.0, qty) for at, qty in enumerate(quantities)]
    half = len(levels) // 2
    return BookChange(START, True, False, 1.0, 2.0, levels[:half], levels[half:])


def history_of(changes: Sequence[BookChange]) -> QuantityHistory:
    history = QuantityHistory()
    for change in changes:
        history.update(change)
    return history


class Reference:
    """The definition, word for word, over everything that was ever seen."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def update(self, change: BookChange) -> None:
        for _, _, after in [*change.bids, *change.asks]:
            if after > 0:
                self.seen.append(after)

    def percentiles(self) -> tuple[float, float] | None:
        if len(self.seen) < MIN_SAMPLES:
            return None
        p95, p10 = np.percentile(self.seen[-LAST:], [95, 10])
        return float(p95), float(p10)

    def large(self) -> float | None:
        closed = self.seen[: len(self.seen) // CHUNK * CHUNK]
        return float(np.percentile(closed[-LAST:], 95)) if closed else None


def assert_equal_at_every_prefix(changes: Sequence[BookChange], every: int = 1) -> None:
    history, reference = QuantityHistory(), Reference()
    for number, change in enumerate(changes):
        history.update(change)
        reference.update(change)
        if number % every == 0:
            assert history.percentiles() == reference.percentiles()
            assert history.large() == reference.large()
            assert len(history) == min(LAST, len(reference.seen))


def test_percentiles_are_not_known_below_100_samples() -> None:
    assert history_of([change_of([1.0] * 99)]).percentiles() is None
    assert history_of([change_of([1.0] * 100)]).percentiles() == (1.0, 1.0)


def test_percentiles_interpolate_between_the_two_nearest_samples() -> None:
    history = history_of([change_of([float(qty) for qty in range(100, 0, -1)])])
    assert history.percentiles() == (95.05, 10.9)


def test_a_removed_level_is_no_sample() -> None:
    history = history_of([change_of([0.0, 5.0] * 60)])
    assert len(history) == 60
    assert history.percentiles() is None


def test_a_book_that_was_given_up_takes_no_samples_away() -> None:
    history = history_of([change_of([2.0] * 100), BookChange(START, False, False, None, None, [], [])])
    assert history.percentiles() == (2.0, 2.0)


def test_samples_beyond_the_last_10000_no_longer_count() -> None:
    history = history_of([change_of([1000.0] * 777)] + [change_of([1.0] * 50)] * 199)
    assert history.percentiles() == (1.0, 1.0)  # 50 of the old ones are left, below 5 %
    assert history_of([change_of([1000.0] * 777)] + [change_of([1.0] * 50)] * 189).percentiles() == (1000.0, 1.0)


def test_large_moves_only_when_500_more_samples_were_seen() -> None:
    history = history_of([change_of([1.0] * 499)])
    assert history.large() is None
    history.update(change_of([1.0, 9.0]))  # the second one is the first of the next chunk
    assert history.large() == 1.0
    history.update(change_of([9.0] * 498))
    assert history.large() == 1.0
    history.update(change_of([9.0]))
    assert history.large() == 9.0


@settings(max_examples=examples(40))
@given(st.lists(st.integers(0, 4000), max_size=12), st.integers(0, 2**32 - 1), st.integers(1, 6))
@example([20_003, 1, 499], 1, 6)
def test_percentiles_equal_numpy_over_the_whole_history_at_every_prefix(
    sizes: list[int], seed: int, digits: int
) -> None:
    random = np.random.default_rng(seed)
    quantities = [np.round(random.lognormal(0, 2, size), digits).tolist() for size in sizes]
    assert_equal_at_every_prefix([change_of(each) for each in quantities])


@given(st.lists(st.lists(st.floats(1e-8, 1e15), min_size=20, max_size=60), max_size=12))
def test_any_quantities_give_what_numpy_gives(quantities: list[list[float]]) -> None:
    assert_equal_at_every_prefix([change_of(each) for each in quantities])


@given(streams())
def test_percentiles_follow_the_books_of_made_streams(events: list[Event]) -> None:
    assert_equal_at_every_prefix(changes_of(events))


@pytest.mark.tape
def test_percentiles_follow_the_recorded_book(tape_path: Path) -> None:
    assert_equal_at_every_prefix(changes_of(tape_events(tape_path)), every=20)


def test_it_does_not_matter_how_samples_come_in_events_nor_whether_somebody_asks() -> None:
    quantities = [float(qty % 977) for qty in range(1, 12_346)]
    at_once, one_by_one = history_of([change_of(quantities)]), QuantityHistory()
    for qty in quantities:
        one_by_one.update(change_of([qty]))
        one_by_one.large()
        if qty == 500.0:
            one_by_one.percentiles()
    assert at_once.snapshot() == one_by_one.snapshot()
    assert at_once.large() == one_by_one.large()
    assert at_once.percentiles() == one_by_one.percentiles()


@settings(max_examples=examples(40))
@given(st.lists(st.integers(0, 2500), max_size=14), st.data())
def test_a_restored_history_goes_on_as_if_nothing_had_happened(sizes: list[int], data: st.DataObject) -> None:
    random = np.random.default_rng(len(sizes))
    changes = [change_of(random.lognormal(0, 2, size).tolist()) for size in sizes]
    cut = data.draw(st.integers(0, len(changes)))
    packed = msgspec.msgpack.encode(history_of(changes[:cut]).snapshot())
    resumed = QuantityHistory.restore(msgspec.msgpack.decode(packed, type=QuantityState))
    for change in changes[cut:]:
        resumed.update(change)
    whole = history_of(changes)
    assert resumed.snapshot() == whole.snapshot()
    assert resumed.large() == whole.large()
    assert resumed.percentiles() == whole.percentiles()


def test_a_closed_chunk_keeps_its_number_and_its_bytes() -> None:
    history = QuantityHistory()
    kept: dict[int, bytes] = {}
    for at in range(60):
        history.update(change_of([float(at * 377 + each + 1) for each in range(377)]))
        state = history.snapshot()
        for number, chunk in enumerate(state.closed, start=state.first):
            assert kept.setdefault(number, chunk) == chunk
    assert sorted(kept) == list(range(60 * 377 // CHUNK))


def test_the_state_holds_8_bytes_a_sample_however_long_it_has_run() -> None:
    state = history_of([change_of([1.5] * 5000)] * 20).snapshot()
    assert len(msgspec.msgpack.encode(state)) < (LAST + CHUNK) * 8 + 200
