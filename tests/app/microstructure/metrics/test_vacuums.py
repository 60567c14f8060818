from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.microstructure.book import Levels, OrderBook
from app.microstructure.events import MAX_DEPTH_LEVELS, OrderBookDeltas
from app.microstructure.metrics.vacuums import VacuumParams, vacuums
from app.microstructure.report import Vacuum
from support.markets import START
from support.tapes import tape_events

QUANTITIES = st.lists(st.sampled_from((0.1, 0.4, 0.5, 0.6, 3.0)), max_size=20)


def bids_of(quantities: list[float]) -> Levels:
    return tuple((100.0 - at, qty) for at, qty in enumerate(quantities))


def asks_of(quantities: list[float]) -> Levels:
    return tuple((101.0 + at, qty) for at, qty in enumerate(quantities))


def reference(bids: Levels, asks: Levels, p10: float) -> list[tuple[float, float, str]]:
    """Return the vacuums as groups of neighbours that are alike in being thin."""
    found = []
    for levels in (bids, asks):
        for thin, group in groupby(levels, key=lambda level: level[1] < p10):
            prices = [price for price, _ in group]
            if thin and len(prices) >= 3:
                severity = "high" if len(prices) >= 10 else "medium" if len(prices) >= 6 else "low"
                found.append((prices[0], prices[-1], severity))
    return found


@pytest.mark.parametrize(
    ("length", "severity"),
    [(2, None), (3, "low"), (5, "low"), (6, "medium"), (9, "medium"), (10, "high"), (20, "high")],
)
def test_the_length_of_the_run_grades_a_vacuum(length: int, severity: str | None) -> None:
    found = vacuums((), asks_of([0.1] * length), 0.5)
    assert [vacuum.severity for vacuum in found] == ([severity] if severity else [])


def test_a_level_of_exactly_p10_is_not_thin() -> None:
    assert vacuums((), asks_of([0.1, 0.1, 0.5, 0.1, 0.1]), 0.5) == ()


def test_a_vacuum_goes_from_the_touch_outwards() -> None:
    thin = [1.0, 0.1, 0.1, 0.1, 1.0]
    assert vacuums(bids_of(thin), asks_of(thin), 0.5) == (Vacuum(99.0, 97.0, "low"), Vacuum(102.0, 104.0, "low"))


def test_a_run_does_not_reach_across_the_touch() -> None:
    assert vacuums(bids_of([0.1, 0.1]), asks_of([0.1, 0.1]), 0.5) == ()


def test_a_side_can_have_more_than_one_vacuum() -> None:
    found = vacuums(bids_of([0.1] * 3 + [1.0] + [0.1] * 6), (), 0.5)
    assert found == (Vacuum(100.0, 98.0, "low"), Vacuum(96.0, 91.0, "medium"))


def test_lengths_are_parameters() -> None:
    params = VacuumParams(shortest=1, medium=2, high=3)
    found = vacuums(bids_of([0.1, 1.0, 0.1, 0.1, 1.0, 0.1, 0.1, 0.1]), (), 0.5, params)
    assert [vacuum.severity for vacuum in found] == ["low", "medium", "high"]


@given(QUANTITIES, QUANTITIES)
def test_vacuums_are_the_longest_runs_of_thin_levels(bid_quantities: list[float], ask_quantities: list[float]) -> None:
    bids, asks = bids_of(bid_quantities), asks_of(ask_quantities)
    found = [(vacuum.from_, vacuum.to, vacuum.severity) for vacuum in vacuums(bids, asks, 0.5)]
    assert found == reference(bids, asks, 0.5)


@pytest.mark.tape
def test_vacuums_of_the_recorded_book_equal_the_rule(tape_path: Path) -> None:
    book, samples, found = OrderBook(), list[float](), 0
    deltas = [event for event in tape_events(tape_path) if isinstance(event, OrderBookDeltas)]
    for number, event in enumerate(deltas):
        change = book.apply_deltas(event.payload, START)
        assert change is not None
        samples += [qty for _, _, qty in [*change.bids, *change.asks] if qty]
        if number % 20:
            continue
        bids, asks = book.top(MAX_DEPTH_LEVELS)
        p10 = float(np.percentile(samples[-10_000:], 10))
        shown = vacuums(bids, asks, p10)
        assert [(vacuum.from_, vacuum.to, vacuum.severity) for vacuum in shown] == reference(bids, asks, p10)
        found += len(shown)
    assert found > 0
