"""States go to pieces and come back equal, and what did not change is not written again."""

from array import array
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.microstructure.compact import Compactor, difference, join, patched
from app.microstructure.engine import EngineParams, StateError, SymbolEngine
from support.markets import SECOND, START, deltas, snapshot, trade
from support.tapes import tape_events

SIDES = st.dictionaries(st.integers(1, 40).map(float), st.integers(1, 5).map(float), max_size=30)


def side(levels: dict[float, float]) -> bytes:
    prices = sorted(levels)
    return array("d", [*prices, *(levels[price] for price in prices)]).tobytes()


@given(SIDES, SIDES)
def test_a_side_comes_back_from_its_base_and_the_difference(base: dict[float, float], now: dict[float, float]) -> None:
    changes = difference(side(base), side(now))
    assert patched(side(base), changes) == side(now)
    changed = {price for price in base.keys() | now.keys() if base.get(price) != now.get(price)}
    assert len(changes) == 16 * len(changed), "levels that did not change are not told"


def test_every_state_of_the_tape_comes_back_equal(tape_path: Path) -> None:
    engine, compactor, looked = SymbolEngine("BTCUSDT", EngineParams()), Compactor(), 0
    for offset, event in enumerate(tape_events(tape_path)):
        engine.apply(event, offset)
        if offset % 97 == 0:
            looked += 1
            assert join(*compactor.split(engine.state())) == engine.state()
    assert looked > 100


def busy_engine() -> SymbolEngine:
    engine = SymbolEngine("BTCUSDT", EngineParams())
    bids, asks = [(100.0 - n / 100, 1.0 + n) for n in range(400)], [(101.0 + n / 100, 1.0 + n) for n in range(400)]
    engine.apply(snapshot(1000, bids, asks), 0)
    for number in range(200):
        engine.apply(trade(number, 100.0, at=START + number * SECOND), 1 + number)
    return engine


def new_bytes(parts: Sequence[bytes], before: Sequence[bytes]) -> int:
    return sum(len(part) for part in set(parts) - set(before))


def test_a_small_change_writes_no_part_again() -> None:
    engine, compactor = busy_engine(), Compactor()
    _, before = compactor.split(engine.state())
    engine.apply(deltas(1001, 1001, [(99.5, 77.0)], at=START + 300 * SECOND), 300)
    head, parts = compactor.split(engine.state())
    assert new_bytes(parts, before) == 0
    assert join(head, parts) == engine.state()


def test_a_book_that_changed_a_lot_becomes_the_next_base() -> None:
    engine, compactor = busy_engine(), Compactor()
    before, bases = compactor.split(engine.state()).parts, 0
    for number in range(300):
        engine.apply(deltas(1001 + number, 1001 + number, [(100.0 - number / 100, 500.0 + number)]), 300 + number)
        head, parts = compactor.split(engine.state())
        bases += parts[:2] != before[:2]
        before = parts
        assert join(head, parts) == engine.state()
    assert bases == 1, "300 changes of 800 levels are once more than a quarter"


def test_pieces_that_do_not_belong_together_are_refused() -> None:
    head, parts = Compactor().split(busy_engine().state())
    for wrong_head, wrong_parts in ((b"rubbish", parts), (head, parts[:-1]), (head, []), (head, [b"123", *parts[1:]])):
        with pytest.raises(StateError):
            join(wrong_head, wrong_parts)
