from hypothesis import given
from hypothesis import strategies as st

from app.microstructure.metrics.depth import depth

LEVELS = st.lists(st.tuples(st.floats(1, 1e6), st.floats(1e-8, 1e9)), max_size=20).map(tuple)


def test_sums_and_imbalance_are_not_known_for_an_empty_book() -> None:
    section = depth((), ())
    assert (section.sum_bid, section.sum_ask, section.imbalance) == (None, None, None)
    assert (section.top_bids, section.top_asks) == ((), ())


def test_imbalance_is_positive_when_buyers_rest_more() -> None:
    assert depth(((99.0, 3.0),), ((101.0, 1.0),)).imbalance == 0.5
    assert depth(((99.0, 1.0),), ((101.0, 3.0),)).imbalance == -0.5


@given(LEVELS, LEVELS)
def test_imbalance_stays_within_one_and_is_known_exactly_when_both_sides_are(
    bids: tuple[tuple[float, float], ...], asks: tuple[tuple[float, float], ...]
) -> None:
    section = depth(bids, asks)
    assert (section.imbalance is not None) == bool(bids and asks)
    assert section.imbalance is None or -1 <= section.imbalance <= 1
