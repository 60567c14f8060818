"""When the next request may go out; the limits hold no clock, so time is moved by hand."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nautilus_trader.adapters.binance.common.enums import BinanceAccountType
from nautilus_trader.adapters.binance.http.error import BinanceClientError
from nautilus_trader.adapters.binance.spot.http.market import BinanceSpotMarketHttpAPI

from producer.exchange.faults import Refuse, Slow
from producer.exchange.server import ExchangeServer
from producer.exchange.sim import SimMarket
from producer.rest_limits import BUDGET, WINDOW, RestLimits, limited_http, weight_of


@given(st.lists(st.tuples(st.integers(1, 250), st.floats(0, 20)), max_size=200))
def test_no_minute_ever_has_more_than_the_budget(requests: list[tuple[int, float]]) -> None:
    limits = RestLimits(budget=500)
    sent: list[tuple[float, int]] = []
    now = 0.0
    for weight, pause in requests:
        now += pause
        while wait := limits.wait(weight, now):
            assert wait > 0
            now += wait
        limits.spend(weight, now)
        sent.append((now, weight))
    for end, _ in sent:
        assert sum(weight for at, weight in sent if end - WINDOW + 1e-6 < at <= end) <= 500


def test_a_request_heavier_than_the_budget_still_goes_out_alone() -> None:
    limits = RestLimits(budget=10)
    assert limits.wait(50, 0.0) == 0.0


@pytest.mark.parametrize("status", [418, 429])
def test_nothing_goes_out_before_retry_after_has_passed(status: int) -> None:
    limits = RestLimits()
    limits.answered(status, {"Retry-After": "30"}, 100.0)
    limits.answered(status, {"retry-after": "5"}, 101.0)
    assert limits.wait(1, 101.0) == 29.0
    assert limits.wait(1, 130.0) == 0.0


def test_what_others_behind_the_same_address_have_used_counts() -> None:
    limits = RestLimits()
    limits.spend(50, 0.0)
    limits.answered(200, {"x-mbx-used-weight-1m": str(BUDGET - 40)}, 1.0)
    assert limits.wait(40, 1.0) == 0.0
    assert limits.wait(50, 1.0) > 0
    assert limits.wait(50, 1.0 + WINDOW) == 0.0


@pytest.mark.parametrize("value", ["", "soon", "-1", "1.5"])
def test_a_header_that_is_no_number_of_seconds_is_passed_over(value: str) -> None:
    limits = RestLimits()
    limits.answered(429, {"retry-after": value, "x-mbx-used-weight-1m": value}, 0.0)
    assert limits.wait(1, 0.0) == 0.0


@pytest.mark.parametrize(
    ("url", "weight"),
    [("depth?symbol=A&limit=100", 5), ("depth?limit=1000", 50), ("depth?limit=5000", 250), ("depth", 5), ("time", 20)],
)
def test_weights_are_those_of_binance(url: str, weight: int) -> None:
    assert weight_of(f"https://api.binance.com/api/v3/{url}") == weight


async def test_the_real_http_client_hears_of_retry_after_and_waits() -> None:
    async with ExchangeServer(SimMarket(["BTCUSDT"], seed=1, rate=5, start_ns=time.time_ns())) as server:
        api = BinanceSpotMarketHttpAPI(limited_http(server.http_url, None, None, 5.0), BinanceAccountType.SPOT)
        server.faults.inject(Refuse(status=429, retry_after=1))
        started = time.monotonic()
        with pytest.raises(BinanceClientError):
            await api.query_depth("BTCUSDT", 100)
        assert (await api.query_depth("BTCUSDT", 100)).bids
        assert time.monotonic() - started >= 1.0


async def test_an_answer_that_does_not_come_in_time_is_given_up() -> None:
    async with ExchangeServer(SimMarket(["BTCUSDT"], seed=1, rate=5, start_ns=time.time_ns())) as server:
        api = BinanceSpotMarketHttpAPI(limited_http(server.http_url, None, None, 0.1), BinanceAccountType.SPOT)
        server.faults.inject(Slow(seconds=1))
        with pytest.raises(TimeoutError):
            await api.query_depth("BTCUSDT", 100)
