"""What looks like spoofing and is not: orders that wait, trade, move with the market, or come on both sides."""

import msgspec
import pytest

from support.markets import SECOND
from support.spoofing import DEFAULTS, FIVE_ASKS, FIVE_BIDS, MS, show, watched


def test_several_small_bursts_of_different_size_are_ordinary() -> None:
    feed, detector = watched()
    show(feed, [(round(99.88 - n / 100, 2), qty) for n, qty in enumerate((6.0, 6.5, 12.0, 12.5, 24.0, 25.0))])
    assert detector.value(feed.now) == ()


def test_orders_that_are_hardly_larger_than_the_large_size_are_not_conspicuous() -> None:
    feed, detector = watched()
    show(feed, [(price, 2.5 + n / 5) for n, (price, _) in enumerate(FIVE_BIDS)])
    assert detector.value(feed.now) == ()


@pytest.mark.parametrize("distance", [1.9, 51.0])
def test_orders_at_the_touch_and_out_of_reach_are_not_watched(distance: float) -> None:
    feed, detector = watched(msgspec.structs.replace(DEFAULTS, min_placements=1))
    show(feed, [(round(100 - distance / 100, 3), 50.0)])
    assert detector.value(feed.now) == ()


def test_a_cancel_at_the_touch_is_no_spoofing() -> None:
    feed, detector = watched()
    feed.set(FIVE_BIDS)
    feed.later(1).set([(round(100 - n / 100, 2), 0.0) for n in range(1, 11)], [(99.89, 1.0)])
    feed.later(1).set([(99.88, 0.0), (99.875, 1.0)])
    feed.later(0.1).set([(price, 0.0) for price, _ in FIVE_BIDS[1:]])
    feed.later(1).set()
    (found,) = detector.value(feed.now)
    assert "83 % cancelled" in found.note


def test_orders_that_wait_are_ordinary() -> None:
    feed, detector = watched()
    show(feed, FIVE_BIDS, seconds=DEFAULTS.lifetime_sec + 0.1)
    assert detector.value(feed.now) == ()


def test_orders_that_stay_are_ordinary() -> None:
    feed, detector = watched()
    for price, qty in [*FIVE_BIDS, (99.65, 6.5), (99.62, 7.5), (99.58, 8.5)]:
        feed.later(1).set([(price, qty)])
    feed.later(1).set([(99.88, 0.0), (99.84, 0.0)])
    feed.later(2).set()
    assert detector.value(feed.now) == ()


@pytest.mark.parametrize("late", [False, True], ids=["before the book event", "after it"])
def test_what_trades_explain_was_not_cancelled(late: bool) -> None:
    feed, detector = watched()
    for price, qty in FIVE_BIDS:
        feed.set([(price, qty)])
        feed.later(1)
        if not late:
            feed.trade(price, qty)
        feed.later(0.1).set([(price, 0.0)])
        if late:
            feed.trade(price, qty, ago=0.05)
        feed.later(1.5).set()
    assert detector.value(feed.now) == ()


@pytest.mark.parametrize(("aggressor", "ago"), [("buy", 0.0), ("sell", 2.0)], ids=["other side", "long before"])
def test_trades_that_cannot_have_hit_the_order_explain_nothing(aggressor: str, ago: float) -> None:
    feed, detector = watched()
    feed.set(FIVE_BIDS)
    feed.later(3)
    for price, qty in FIVE_BIDS:
        feed.trade(price, qty, aggressor, ago=ago)  # type: ignore[arg-type]
    feed.set([(price, 0.0) for price, _ in FIVE_BIDS])
    assert detector.value(feed.now + SECOND)


def test_a_ladder_that_moves_with_the_market_is_quoting() -> None:
    feed, detector = watched()
    ladder = [(round(99.90 - n / 20, 2), 5.0 + n) for n in range(5)]
    feed.set(ladder)
    for step in range(1, 60):
        moved = [(round(price - step % 4 / 100, 2), qty) for price, qty in ladder]
        before = [(round(price - (step - 1) % 4 / 100, 2), 0.0) for price, _ in ladder]
        if step % 2:
            feed.later(0.7).set(before)
            feed.later(0.3).set(moved)
        else:
            feed.later(0.7).set([*before, *moved])
        assert detector.value(feed.now + 500 * MS) == ()


def test_a_quote_of_one_size_that_comes_and_goes_is_routine() -> None:
    feed, detector = watched(seconds=1)
    for _cycle in range(40):
        show(feed, [(99.88, 5.0), (99.75, 7.0)], seconds=1.0, settle=3.0)
        assert detector.value(feed.now) == ()


def test_layers_of_one_size_are_no_routine() -> None:
    feed, detector = watched()
    for _cycle in range(6):
        show(feed, [(price, 6.0) for price, _ in FIVE_BIDS], seconds=1.0, settle=3.0)
    assert detector.value(feed.now)


def test_a_market_maker_who_renews_both_sides_is_no_spoofer() -> None:
    feed, detector = watched()
    for cycle in range(10):
        show(
            feed,
            [(price, qty * (1 + cycle / 7)) for price, qty in FIVE_BIDS],
            [(price, qty * (1 + cycle / 9)) for price, qty in FIVE_ASKS],
            seconds=1.0,
            settle=2.0,
        )
        assert detector.value(feed.now) == ()
