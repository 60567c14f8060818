from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.microstructure.book import Levels, OrderBook
from app.microstructure.events import MAX_DEPTH_LEVELS, OrderBookDeltas
from app.microstructure.metrics.walls import WallParams, walls
from app.microstructure.report import Wall
from support.markets import START
from support.tapes import tape_events

BIDS = st.lists(st.integers(1, 10**8), max_size=20).map(
    lambda units: tuple((1000.0 - at, qty / 1e8) for at, qty in enumerate(units))
)
ASKS = BIDS.map(lambda bids: tuple((2001.0 - price, qty) for price, qty in bids))


def reference(bids: Levels, asks: Levels, p95: float) -> list[tuple[str, float, float, str]]:
    """Return the walls by the rule in exact fractions of 10⁻⁸ units."""
    threshold = Fraction(3, 2) * round(p95 * 10**8)
    found = []
    for side, levels in (("bid", bids), ("ask", asks)):
        for price, qty in levels:
            ratio = round(qty * 10**8) / threshold
            if ratio >= 1:
                found.append((side, price, qty, "high" if ratio >= 3 else "medium" if ratio >= 2 else "low"))
    return found


@pytest.mark.parametrize(
    ("qty", "severity"),
    [(1.49, None), (1.5, "low"), (2.99, "low"), (3.0, "medium"), (4.49, "medium"), (4.5, "high"), (1e9, "high")],
)
def test_the_ratio_to_the_threshold_grades_a_wall(qty: float, severity: str | None) -> None:
    found = walls(((99.0, qty),), (), 1.0)
    assert [wall.severity for wall in found] == ([severity] if severity else [])


def test_a_quantity_that_is_exactly_on_the_threshold_in_decimals_is_a_wall() -> None:
    assert 1.5 * 0.1 > 0.15  # in doubles
    assert walls(((99.0, 0.15),), (), 0.1) == (Wall("bid", 99.0, 0.15, "low"),)
    assert walls(((99.0, 0.45),), (), 0.1) == (Wall("bid", 99.0, 0.45, "high"),)


def test_walls_are_named_by_side_and_go_from_the_touch_outwards() -> None:
    bids, asks = ((99.0, 5.0), (98.0, 1.0), (97.0, 3.0)), ((101.0, 1.0), (102.0, 2.0))
    assert walls(bids, asks, 1.0) == (
        Wall("bid", 99.0, 5.0, "high"),
        Wall("bid", 97.0, 3.0, "medium"),
        Wall("ask", 102.0, 2.0, "low"),
    )


def test_an_empty_book_has_no_walls() -> None:
    assert walls((), (), 1.0) == ()


def test_thresholds_are_parameters() -> None:
    params = WallParams(factor=1.0, medium=4.0, high=5.0)
    found = walls(((99.0, 1.0), (98.0, 4.0), (97.0, 5.0)), (), 1.0, params)
    assert [wall.severity for wall in found] == ["low", "medium", "high"]


@given(BIDS, ASKS, st.integers(1, 10**8))
def test_walls_equal_the_rule_in_exact_arithmetic(bids: Levels, asks: Levels, p95_units: int) -> None:
    p95 = p95_units / 1e8
    found = [(wall.side, wall.price, wall.qty, wall.severity) for wall in walls(bids, asks, p95)]
    assert found == reference(bids, asks, p95)


@given(BIDS, st.integers(1, 10**8), st.integers(1, 10**8))
def test_a_higher_p95_never_makes_a_wall(bids: Levels, one: int, other: int) -> None:
    few = walls(bids, (), max(one, other) / 1e8)
    many = walls(bids, (), min(one, other) / 1e8)
    assert {wall.price for wall in few} <= {wall.price for wall in many}


@pytest.mark.tape
def test_walls_of_the_recorded_book_equal_the_rule(tape_path: Path) -> None:
    book, samples, found = OrderBook(), list[float](), 0
    deltas = [event for event in tape_events(tape_path) if isinstance(event, OrderBookDeltas)]
    for number, event in enumerate(deltas):
        change = book.apply_deltas(event.payload, START)
        assert change is not None
        samples += [qty for _, _, qty in [*change.bids, *change.asks] if qty]
        if number % 20:
            continue
        bids, asks = book.top(MAX_DEPTH_LEVELS)
        p95 = round(float(np.percentile(samples[-10_000:], 95)), 8)
        shown = walls(bids, asks, p95)
        assert [(wall.side, wall.price, wall.qty, wall.severity) for wall in shown] == reference(bids, asks, p95)
        found += len(shown)
    assert found > 0
