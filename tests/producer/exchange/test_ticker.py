from hypothesis import given
from hypothesis import strategies as st

from producer.exchange.ticker import MINUTE_MS, WINDOW_MS, RollingTicker
from producer.exchange.units import ONE, to_units

NOW_MS = 1_700_000_000_000

trades = st.lists(
    st.tuples(
        st.integers(min_value=0, max_value=9 * 3_600_000),  # ms since the trade before
        st.integers(min_value=1, max_value=1000).map(lambda n: n * ONE),
        st.integers(min_value=1, max_value=1000).map(lambda n: n * ONE // 100),
    ),
    min_size=1,
    max_size=60,
)


@given(trades)
def test_statistics_equal_those_over_all_trades_of_the_window(steps: list[tuple[int, int, int]]) -> None:
    ticker = RollingTicker()
    seen: list[tuple[int, int, int, int]] = []
    time_ms = NOW_MS
    for trade_id, (wait, price, quantity) in enumerate(steps, start=1000):
        time_ms += wait
        seen.append((time_ms, trade_id, price, quantity))
        ticker.add_trade(time_ms, trade_id, price, quantity)
        report = ticker.report("BTCUSDT", time_ms, (1, 2), None)
        # A minute leaves as a whole, when its beginning is a day old.
        inside = [it for it in seen if it[0] - it[0] % MINUTE_MS >= time_ms - WINDOW_MS]
        before = [it for it in seen if it not in inside]
        prices = [it[2] for it in inside]
        assert report is not None
        assert to_units(report.last_price) == price
        assert to_units(report.last_quantity) == quantity
        assert to_units(report.open_price) == prices[0]
        assert to_units(report.high_price) == max(prices)
        assert to_units(report.low_price) == min(prices)
        assert to_units(report.volume) == sum(it[3] for it in inside)
        assert to_units(report.quote_volume) == sum(it[2] * it[3] // ONE for it in inside)
        assert to_units(report.previous_close) == (before[-1][2] if before else prices[0])
        assert report.price_change_percent == f"{100 * (price - prices[0]) / prices[0]:.3f}"
        assert (report.first_trade_id, report.last_trade_id) == (inside[0][1], trade_id)
        assert report.trade_count == len(inside)
        assert (report.bid_price, report.ask_price) == ("0.00000001", "0.00000000")


def test_trades_leave_the_window_minute_by_minute() -> None:
    ticker = RollingTicker()
    for trade_id, price in enumerate((50, 20, 80)):
        ticker.add_trade(NOW_MS + trade_id * MINUTE_MS, trade_id, price * ONE, ONE)
    report = ticker.report("BTCUSDT", NOW_MS + WINDOW_MS, None, None)
    assert report is not None
    assert (report.trade_count, report.first_trade_id, report.last_trade_id) == (2, 1, 2)
    assert (report.previous_close, report.open_price) == ("50.00000000", "20.00000000")
    assert (report.volume, report.quote_volume) == ("2.00000000", "100.00000000")


def test_nothing_is_reported_once_the_last_trade_is_a_day_old() -> None:
    ticker = RollingTicker()
    assert ticker.report("BTCUSDT", NOW_MS, None, None) is None
    ticker.add_trade(NOW_MS, 1, 5 * ONE, ONE)
    assert ticker.report("BTCUSDT", NOW_MS + WINDOW_MS - MINUTE_MS, None, None) is not None
    assert ticker.report("BTCUSDT", NOW_MS + WINDOW_MS + MINUTE_MS, None, None) is None
