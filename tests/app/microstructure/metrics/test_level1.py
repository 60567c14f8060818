from hypothesis import given
from hypothesis import strategies as st

from app.microstructure.metrics.level1 import level1
from app.microstructure.report import Level

PRICES = st.floats(1e-8, 1e9)
QTY = st.floats(1e-8, 1e9)


def test_an_empty_book_has_no_level_1() -> None:
    top = level1((), ())
    assert (top.best_bid, top.best_ask, top.mid_price, top.spread_bps, top.micro_price) == (None,) * 5


def test_one_empty_side_leaves_the_other_and_no_prices_in_between() -> None:
    top = level1(((99.0, 1.0),), ())
    assert top.best_bid == Level(99.0, 1.0)
    assert (top.best_ask, top.mid_price, top.spread_bps, top.micro_price) == (None,) * 4


def test_the_micro_price_leans_to_the_side_that_is_about_to_give_way() -> None:
    top = level1(((99.0, 9.0),), ((101.0, 1.0),))
    assert top.mid_price == 100.0
    assert top.spread_bps == 200.0
    assert top.micro_price == 100.8


@given(PRICES, PRICES, QTY, QTY)
def test_mid_and_micro_lie_between_bid_and_ask_and_the_spread_is_not_negative(
    one: float, other: float, bid_qty: float, ask_qty: float
) -> None:
    bid, ask = min(one, other), max(one, other)
    top = level1(((bid, bid_qty),), ((ask, ask_qty),))
    assert top.mid_price is not None
    assert top.micro_price is not None
    assert top.spread_bps is not None
    assert bid <= top.mid_price <= ask
    assert bid <= top.micro_price <= ask
    assert top.spread_bps >= 0
