"""Which symbols there are, asked of the real exchange server."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from nautilus_trader.adapters.binance.common.enums import BinanceAccountType
from nautilus_trader.adapters.binance.http.client import BinanceHttpClient
from nautilus_trader.adapters.binance.spot.http.market import BinanceSpotMarketHttpAPI
from nautilus_trader.common.component import LiveClock

from producer import symbols as symbols_module
from producer.exchange.server import ExchangeServer
from producer.exchange.sim import SimMarket
from producer.metrics import Metrics
from producer.symbols import known_symbols

Until = Callable[..., Awaitable[None]]

LISTED = ["BTCUSDT", "ETHUSDT", "SOLUSDT"]


def api(url: str) -> BinanceSpotMarketHttpAPI:
    return BinanceSpotMarketHttpAPI(BinanceHttpClient(LiveClock(), None, None, url), BinanceAccountType.SPOT)


def exchange(port: int = 0) -> ExchangeServer:
    return ExchangeServer(SimMarket(LISTED, seed=1, rate=1, start_ns=time.time_ns()), port=port)


@pytest.fixture
async def market() -> AsyncIterator[BinanceSpotMarketHttpAPI]:
    async with exchange() as server:
        yield api(server.http_url)


async def test_symbols_that_exist_are_all_kept_in_their_order(market: BinanceSpotMarketHttpAPI) -> None:
    assert await known_symbols(market, LISTED[::-1], Metrics()) == LISTED[::-1]


@pytest.mark.parametrize("unknown", [["NOSUCH"], ["NOSUCH", "NEITHER"]])
async def test_unknown_symbols_are_named_and_the_others_go_on(
    market: BinanceSpotMarketHttpAPI, unknown: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    wanted = [unknown[0], *LISTED, *unknown[1:]]
    with caplog.at_level(logging.ERROR):
        assert await known_symbols(market, wanted, Metrics()) == LISTED
    assert caplog.messages == [f"symbol {symbol} is not known to the exchange" for symbol in unknown]


async def test_none_is_left_if_none_is_known(market: BinanceSpotMarketHttpAPI) -> None:
    assert await known_symbols(market, ["NOSUCH"], Metrics()) == []


async def test_an_exchange_that_is_away_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, until: Until
) -> None:
    monkeypatch.setattr(symbols_module, "RETRY_FIRST", 0.02)
    monkeypatch.setattr(symbols_module, "RETRY_LONGEST", 0.05)
    async with exchange() as server:
        port = server.port
    asking = asyncio.create_task(known_symbols(api(server.http_url), ["BTCUSDT"], Metrics()))
    with caplog.at_level(logging.WARNING):
        await until(lambda: "exchange does not answer" in caplog.text)
        async with exchange(port), asyncio.timeout(10):
            assert await asking == ["BTCUSDT"]
