from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.microstructure.events import TradeTick
from app.microstructure.metrics.flow import RATE_WINDOW_SEC, TradeFlow
from support.markets import SECOND, START, trade

WINDOW = 30
LONG_AGO = START - 3600 * SECOND


def flow_of(trades: list[TradeTick], window: int = WINDOW, since: int = LONG_AGO) -> TradeFlow:
    flow = TradeFlow(window)
    flow.watched_since = since
    for each in trades:
        flow.update(each)
    return flow


def test_a_quiet_market_that_was_watched_long_enough_has_flow_zero() -> None:
    value = flow_of([]).value(START)
    assert (value.orders_per_sec, value.net_flow) == (0.0, 0.0)


def test_flow_is_not_known_until_its_window_was_watched() -> None:
    flow = flow_of([trade(1, at=START)], since=START)
    early = flow.value(START + 9 * SECOND)
    later = flow.value(START + 10 * SECOND)
    full = flow.value(START + 30 * SECOND)
    assert (early.orders_per_sec, early.net_flow) == (None, None)
    assert (later.orders_per_sec, later.net_flow) == (0.0, None)
    assert (full.orders_per_sec, full.net_flow) == (0.0, 0.0)


def test_buys_count_up_and_sells_down() -> None:
    flow = flow_of([trade(1, qty=2.5), trade(2, qty=1.0, side="sell")])
    value = flow.value(START)
    assert value.net_flow == 1.5
    assert value.orders_per_sec == 0.2


def test_a_trade_leaves_the_window_exactly_when_it_is_as_old_as_the_window() -> None:
    flow = flow_of([trade(1)])
    assert flow.value(START + WINDOW * SECOND - 1).net_flow == 1.0
    assert flow.value(START + WINDOW * SECOND).net_flow == 0.0


def test_tenths_add_up_exactly() -> None:
    flow = flow_of([trade(n, qty=0.1) for n in range(10)])
    assert flow.value(START).net_flow == 1.0


TRADES = st.lists(st.tuples(st.integers(-5, 20), st.integers(1, 10**9), st.sampled_from(("buy", "sell"))), max_size=60)


@pytest.mark.parametrize("window", [5, 30])
@given(TRADES)
def test_flow_equals_the_sum_over_the_whole_history_at_every_prefix(
    window: int, moves: list[tuple[int, int, str]]
) -> None:
    flow, history, now, newest = flow_of([], window), [], START, START
    for number, (step, units, side) in enumerate(moves):
        now += step * SECOND // 2
        newest = max(newest, now)
        tick = trade(number, qty=units / 1e8, side=side, at=now)  # type: ignore[arg-type]
        flow.update(tick)
        history.append((now, Decimal(units) * (1 if side == "buy" else -1)))
        value = flow.value(newest)
        net = sum((qty for at, qty in history if newest - window * SECOND < at), Decimal(0))
        recent = sum(1 for at, _ in history if newest - RATE_WINDOW_SEC * SECOND < at)
        assert value.net_flow == float(net) / 1e8
        assert value.orders_per_sec == recent / RATE_WINDOW_SEC


@given(TRADES, st.data())
def test_a_restored_flow_goes_on_as_if_nothing_had_happened(
    moves: list[tuple[int, int, str]], data: st.DataObject
) -> None:
    now, trades = START, []
    for number, (step, units, side) in enumerate(moves):
        now += step * SECOND
        trades.append(trade(number, qty=units / 1e8, side=side, at=now))  # type: ignore[arg-type]
    cut = data.draw(st.integers(0, len(trades)))
    whole, first = flow_of(trades), flow_of(trades[:cut])
    resumed = TradeFlow.restore(first.snapshot(), WINDOW)
    for each in trades[cut:]:
        resumed.update(each)
    assert resumed.snapshot() == whole.snapshot()
    assert resumed.value(now + SECOND) == whole.value(now + SECOND)
