from collections import Counter
from collections.abc import Container
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producer.exchange.messages import Message, Ticker24h, Trade
from producer.exchange.order_flow import MIN_LEVELS
from producer.exchange.sim import SimMarket
from producer.exchange.ticker import WINDOW_MS
from producer.exchange.units import to_units
from support.examples import examples

NS = 1_000_000_000
START_NS = 1_700_000_000 * NS


class All:
    def __contains__(self, stream: object) -> bool:
        return True


def run(
    symbols: list[str],
    *,
    seed: int = 7,
    rate: float = 100,
    seconds: float = 2.0,
    wanted: Container[str] | None = None,
) -> list[Message]:
    market = SimMarket(symbols, seed=seed, rate=rate, start_ns=START_NS)
    return list(market.advance(START_NS + int(seconds * NS), All() if wanted is None else wanted))


def test_the_same_seed_gives_the_same_messages() -> None:
    assert run(["BTCUSDT", "ETHUSDT"]) == run(["BTCUSDT", "ETHUSDT"])


def test_another_seed_gives_other_messages() -> None:
    assert run(["BTCUSDT"], seed=7) != run(["BTCUSDT"], seed=8)


@settings(max_examples=examples(20))
@given(st.lists(st.integers(min_value=-NS // 10, max_value=NS), max_size=12))
def test_how_often_the_market_is_advanced_makes_no_difference(waits: list[int]) -> None:
    market = SimMarket(["BTCUSDT", "XRPUSDT"], seed=7, rate=100, start_ns=START_NS)
    end_ns = START_NS + 2 * NS
    messages: list[Message] = []
    now_ns = START_NS
    for wait in waits:
        now_ns = min(end_ns, now_ns + wait)  # a wait below 0 is a clock that was put back
        messages += market.advance(now_ns, All())
    messages += market.advance(end_ns, All())
    assert messages == run(["BTCUSDT", "XRPUSDT"])


def test_a_symbol_does_not_depend_on_the_others() -> None:
    alone = run(["ETHUSDT"])
    among = [it for it in run(["BTCUSDT", "ETHUSDT", "XRPUSDT"]) if it.stream.startswith("ethusdt")]
    assert among == alone


@pytest.mark.parametrize("stream", ["trade", "bookTicker", "ticker", "depth", "depth@100ms", "depth20@100ms", "depth5"])
def test_a_stream_does_not_depend_on_what_else_is_wanted(stream: str) -> None:
    name = f"btcusdt@{stream}"
    assert run(["BTCUSDT"], wanted={name}) == [it for it in run(["BTCUSDT"]) if it.stream == name]


@pytest.mark.parametrize("rate", [40, 200, 500])
def test_trades_and_fast_diffs_together_meet_the_rate(rate: int) -> None:
    seconds = 30
    counts = Counter(
        it.stream
        for it in run(["BTCUSDT"], rate=rate, seconds=seconds, wanted={"btcusdt@trade", "btcusdt@depth@100ms"})
    )
    assert counts["btcusdt@depth@100ms"] == pytest.approx(10 * seconds, rel=0.05)
    assert counts.total() == pytest.approx(rate * seconds, rel=0.1)


@pytest.mark.parametrize("symbol", ["BTCUSDT", "XRPUSDT", "SHIBUSDT", "ETHBTC", "NEWCOINUSDT"])
def test_the_book_stays_believable(symbol: str) -> None:
    market = SimMarket([symbol], seed=5, rate=200, start_ns=START_NS)
    info = market.info(symbol)
    spreads: list[float] = []
    mids: set[int] = set()
    for tenth in range(1, 300):
        list(market.advance(START_NS + tenth * NS // 10, set()))
        depth = market.depth(symbol, 5000)
        assert min(len(depth.bids), len(depth.asks)) >= MIN_LEVELS
        for price, quantity in depth.bids + depth.asks:
            assert price % info.tick == quantity % info.step == 0
            assert price > 0
            assert quantity > 0
        (bid, _), (ask, _) = depth.bids[0], depth.asks[0]
        spreads.append((ask - bid) / info.tick)
        mids.add(bid + ask)
    assert min(spreads) >= 1
    assert sorted(spreads)[150] <= max(4, 1e-5 * bid / info.tick)  # ticks, or 0.1 bps where ticks are finer
    assert len(mids) >= 5


def test_every_trade_takes_its_quantity_out_of_the_book() -> None:
    market = SimMarket(["BTCUSDT"], seed=7, rate=100, start_ns=START_NS)
    wanted = {"btcusdt@trade"}
    checked = 0
    now_ns = START_NS
    while checked < 100:
        # Advanced in such small steps, a step holds one action at most: the book before it is known.
        now_ns += 100_000
        before = market.depth("BTCUSDT", 50)
        trades = [msgspec.json.decode(it.payload, type=Trade) for it in market.advance(now_ns, wanted)]
        after = market.depth("BTCUSDT", 5000)
        if market.depth("BTCUSDT", 1).last_update_id - before.last_update_id != len(trades):
            continue
        for trade in trades:
            sold = trade.buyer_is_maker
            had, has = dict(before.bids if sold else before.asks), dict(after.bids if sold else after.asks)
            price, quantity = to_units(trade.price), to_units(trade.quantity)
            assert had[price] - quantity == has.get(price, 0)
            checked += 1
        sides = {trade.buyer_is_maker for trade in trades}
        assert len(sides) <= 1
        prices = [to_units(trade.price) for trade in trades]
        assert prices == sorted(prices, reverse=True in sides)


def test_the_24h_ticker_starts_with_a_day_of_history() -> None:
    (message,) = run(["BTCUSDT"], seconds=1.0, wanted={"btcusdt@ticker"})
    ticker: Any = msgspec.json.decode(message.payload, type=Ticker24h)
    assert ticker.close_time - ticker.open_time == WINDOW_MS
    assert ticker.trade_count == ticker.last_trade_id - ticker.first_trade_id + 1
    assert ticker.trade_count > 24 * 3600 * 30
    low, high = to_units(ticker.low_price), to_units(ticker.high_price)
    assert low < to_units(ticker.open_price) < high
    assert low < to_units(ticker.weighted_average_price) < high
    assert -20 < float(ticker.price_change_percent) < 20
    assert to_units(ticker.volume) > 0


@pytest.mark.parametrize("symbol", ["btcusdt", "BTC-USDT", "BTCXYZ", ""])
def test_a_symbol_that_cannot_be_listed_is_refused(symbol: str) -> None:
    with pytest.raises(ValueError, match=repr(symbol)):
        SimMarket([symbol], seed=1, rate=10, start_ns=START_NS)
