import msgspec
import pytest

from app.microstructure.metrics.large_orders import MAX_ORDERS, MAX_SIZES, UNITS, LargeOrders
from app.microstructure.metrics.order_values import Count, OrderParams
from support.markets import SECOND, START

LARGE, MID = 2.0, 100.0
MS = SECOND // 1000
PARAMS = OrderParams()


class Side:
    """Bids, changed one level at a time."""

    def __init__(self, params: OrderParams = PARAMS) -> None:
        self.orders = LargeOrders(params)
        self.now = START
        self._levels: dict[float, float] = {}

    def set(self, price: float, qty: float, after: float = 0.0, mid: float | None = MID, spread: float = 0.002) -> bool:
        self.now += round(after * SECOND)
        change = (price, self._levels.get(price, 0.0), qty)
        self._levels[price] = qty
        return self.orders.change([change], self.now, LARGE, None if mid is None else mid - spread / 2, mid)

    def count(self, after: float = 0.0) -> Count:
        return self.orders.count(self.now + round(after * SECOND), LARGE)

    def bursts(self, after: float = 0.0) -> list[Count]:
        return self.orders.bursts(self.now + round(after * SECOND), LARGE)


def test_an_order_is_a_rise_by_the_large_size() -> None:
    side = Side()
    side.set(99.8, 1.9)
    assert side.count().placements == 0
    side.set(99.8, 3.9)
    assert side.count()[:3] == (1, 2 * UNITS, 0)


def test_an_order_counts_in_its_window() -> None:
    side = Side()
    side.set(99.8, 5.0)
    assert side.count(after=29.9).placements == 1
    assert side.count(after=30.0).placements == 0


def test_distance_is_that_from_the_mid_in_basis_points() -> None:
    side = Side()
    side.set(99.8, 5.0)
    side.set(99.95, 5.0, mid=99.99)
    assert side.count().distances_bps == pytest.approx([20.0, 4.0], rel=1e-3)


def test_without_a_mid_nothing_is_placed_or_cancelled() -> None:
    side = Side()
    side.set(99.8, 5.0)
    side.set(99.7, 5.0, mid=None)
    assert not side.set(99.8, 0.0, mid=None)
    assert side.count(after=2)[:3] == (1, 5 * UNITS, 0)


def test_a_cancel_counts_a_moment_later_and_is_judged_then() -> None:
    side = Side()
    side.set(99.8, 5.0)
    assert side.set(99.8, 1.0, after=1.0)
    for after, cancelled, judged in ((0.999, 0, False), (1.0, 4 * UNITS, True), (1.1, 4 * UNITS, False)):
        assert side.count(after=after).cancelled == cancelled
        assert bool(side.bursts(after=after)) is judged


def test_a_burst_holds_the_orders_of_about_one_size() -> None:
    side = Side()
    for n, qty in enumerate((3.9, 5.0, 6.0, 8.9, 9.1, 20.0)):
        side.set(round(99.8 - n / 100, 2), qty)
    side.set(99.78, 0.0, after=1.0)
    assert [burst[:3] for burst in side.bursts(after=1.0)] == [(3, 1_990_000_000, 6 * UNITS)]


def test_bursts_come_largest_first() -> None:
    side = Side()
    for price, qty in ((99.8, 4.0), (99.7, 9.0)):
        side.set(price, qty)
    for price in (99.8, 99.7):
        side.set(price, 0.0)
    assert [burst.cancelled for burst in side.bursts(after=1.0)] == [9 * UNITS, 4 * UNITS]


def test_no_more_than_the_order_is_cancelled() -> None:
    side = Side()
    side.set(99.8, 1.5)
    side.set(99.8, 6.5)
    side.set(99.8, 0.0, after=1.0)
    assert side.count(after=1.0)[1:3] == (5 * UNITS, 5 * UNITS)


def test_a_trade_explains_a_fall_once_before_or_after_it() -> None:
    side = Side()
    side.set(99.8, 10.0)
    order = side.orders.orders[99.8]
    side.now += SECOND
    side.orders.trade(order, 3 * UNITS, side.now)
    side.set(99.8, 2.0, after=0.1)  # 3 of 8 were traded
    side.orders.trade(order, 1 * UNITS, side.now - 50 * MS)  # and one more, which came late
    assert side.count(after=1.0).cancelled == 4 * UNITS
    side.set(99.8, 0.0, after=0.1)
    assert side.count(after=1.0).cancelled == 6 * UNITS


@pytest.mark.parametrize(("late_by", "cancelled"), [(0.3, 0), (0.301, 10 * UNITS)])
@pytest.mark.parametrize("fall_first", [False, True])
def test_a_trade_explains_falls_close_in_time(late_by: float, cancelled: int, fall_first: bool) -> None:
    side = Side()
    side.set(99.8, 10.0)
    order = side.orders.orders[99.8]
    if fall_first:
        side.set(99.8, 0.0, after=1.0)
        side.orders.trade(order, 10 * UNITS, side.now + round(late_by * SECOND))
    else:
        side.orders.trade(order, 10 * UNITS, side.now)
        side.set(99.8, 0.0, after=late_by)
    assert side.count(after=1.0).cancelled == cancelled


@pytest.mark.parametrize(("after", "cancelled"), [(10.0, True), (10.001, False)])
def test_what_falls_after_the_lifetime_was_not_cancelled(after: float, cancelled: bool) -> None:
    side = Side()
    side.set(99.8, 5.0)
    assert side.set(99.8, 0.0, after=after) is cancelled


@pytest.mark.parametrize(("mid", "cancelled"), [(99.81, True), (99.8099, False)])
def test_what_falls_near_the_mid_was_not_cancelled(mid: float, cancelled: bool) -> None:
    side = Side()
    side.set(99.8, 5.0)
    assert side.set(99.8, 0.0, mid=mid) is cancelled


@pytest.mark.parametrize(("spread", "cancelled"), [(0.38, True), (0.4, False), (0.42, False)])
def test_what_falls_at_the_touch_was_not_cancelled_however_wide_the_spread_is(spread: float, cancelled: bool) -> None:
    side = Side()
    side.set(99.8, 5.0)
    assert side.set(99.8, 1.0, spread=spread) is cancelled


@pytest.mark.parametrize(("left", "orders"), [(2.5, 1), (2.6, 2)])
def test_a_quarter_may_be_left_of_an_order_that_moves(left: float, orders: int) -> None:
    side = Side()
    side.set(99.8, 10.0)
    side.set(99.8, left, after=1.0)
    side.set(99.7, 10.0, after=0.5)
    assert side.count().placements == orders


def test_an_order_placed_again_elsewhere_is_the_same_order() -> None:
    side = Side()
    side.set(99.8, 5.0)
    side.set(99.8, 0.0, after=1.0)
    side.set(99.7, 5.1, after=0.9)
    assert side.count(after=1.0)[:3] == (1, 510_000_000, 0)
    assert list(side.orders.orders) == [99.7]


@pytest.mark.parametrize(("qty", "after"), [(5.2, 0.9), (5.0, 1.0)], ids=["another size", "too late"])
def test_an_order_placed_elsewhere_in_another_size_or_later_is_another(qty: float, after: float) -> None:
    side = Side()
    side.set(99.8, 5.0)
    side.set(99.8, 0.0, after=1.0)
    side.set(99.7, qty, after=after)
    assert side.count().placements == 2


def test_a_second_rise_at_a_price_joins_the_first() -> None:
    side = Side()
    side.set(99.8, 5.0)
    side.set(99.8, 9.0, after=1.0)
    side.set(99.8, 0.0, after=1.0)
    assert side.count(after=1.0)[:3] == (2, 9 * UNITS, 9 * UNITS)


def test_an_order_that_is_gone_is_remembered_when_its_price_is_taken() -> None:
    side = Side()
    side.set(99.8, 5.0)
    side.set(99.8, 0.0, after=1.0)
    side.set(99.8, 7.0, after=2.0)
    assert side.count()[:3] == (2, 12 * UNITS, 5 * UNITS)


def come_and_go(side: Side, qty: float, times: int) -> None:
    for _time in range(times):
        side.set(99.8, qty)
        side.set(99.8, 0.0, after=1.0)
        side.now += 2 * SECOND


@pytest.mark.parametrize(("qty", "times"), [(2.0, 3), (4.0, 6), (20.0, 9)])
def test_the_larger_a_size_the_more_often_it_must_be_seen_to_be_routine(qty: float, times: int) -> None:
    seldom, often = Side(), Side()
    come_and_go(seldom, qty, times - 1)
    come_and_go(often, qty, times)
    assert seldom.count().placements > 0
    assert often.count().placements == 0


def test_a_size_is_no_routine_any_more_when_it_was_not_seen_for_long() -> None:
    side = Side(OrderParams(window_sec=1000))
    come_and_go(side, 2.0, 5)
    last = side.now - 3 * SECOND
    assert side.orders.count(last + 300 * SECOND - 1, LARGE).placements == 0
    assert side.orders.count(last + 300 * SECOND, LARGE).placements == 5


def test_two_at_a_time_must_be_seen_twice_as_often() -> None:
    side = Side()
    for _time in range(5):
        for price in (99.8, 99.7):
            side.set(price, 2.0)
        for price in (99.8, 99.7):
            side.set(price, 0.0, after=0.5)
        side.now += 2 * SECOND
        placements = side.count().placements
    assert placements == 0
    assert [size.together for size in side.orders.pack().sizes] == [2]


def test_orders_and_sizes_are_bounded() -> None:
    side = Side(OrderParams(window_sec=10**6, requote_ms=301))
    for number in range(4):
        for n in range(200 if number == 3 else 100):
            price = round(99.8 - n / 1e5, 5)
            side.set(price, 0.0, after=0.0)
            side.set(price, 3.0 * 1.05 ** ((n + 7 * number) % 100), after=0.4)
    state = side.orders.pack()
    assert (len(state.orders), len(state.displaced), len(state.sizes)) == (MAX_ORDERS, MAX_ORDERS, MAX_SIZES)
    assert len(msgspec.msgpack.encode(state)) < 20_000
