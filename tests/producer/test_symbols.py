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
from producer.exchange import rest
from producer.exchange.server import ExchangeServer
from producer.exchange.sim import SimMarket
from producer.metrics import Metrics
from producer.symbols import Listed, listed_symbols

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
    assert await listed_symbols(market, LISTED[::-1], Metrics()) == Listed(LISTED[::-1], {})


@pytest.mark.parametrize("unknown", [["NOSUCH"], ["NOSUCH", "NEITHER"]])
async def test_unknown_symbols_are_named_and_the_others_go_on(
    market: BinanceSpotMarketHttpAPI, unknown: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    wanted = [unknown[0], *LISTED, *unknown[1:]]
    with caplog.at_level(logging.ERROR):
        listed = await listed_symbols(market, wanted, Metrics())
    assert listed == Listed(LISTED, dict.fromkeys(unknown, "is not known to the exchange"))
    assert caplog.messages == [f"symbol {symbol} is not known to the exchange" for symbol in unknown]


async def test_none_is_left_if_none_is_known(market: BinanceSpotMarketHttpAPI) -> None:
    assert (await listed_symbols(market, ["NOSUCH"], Metrics())).symbols == []


async def test_an_exchange_that_is_away_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, until: Until
) -> None:
    monkeypatch.setattr(symbols_module, "RETRY_FIRST", 0.02)
    monkeypatch.setattr(symbols_module, "RETRY_LONGEST", 0.05)
    async with exchange() as server:
        port = server.port
    asking = asyncio.create_task(listed_symbols(api(server.http_url), ["BTCUSDT"], Metrics()))
    with caplog.at_level(logging.WARNING):
        await until(lambda: "exchange does not answer" in caplog.text)
        async with exchange(port), asyncio.timeout(10):
            assert (await asking).symbols == ["BTCUSDT"]


async def test_a_symbol_that_does_not_trade_is_left_out_with_its_status(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rules = rest._rules
    monkeypatch.setattr(
        rest, "_rules", lambda info: rules(info) | ({"status": "BREAK"} if info.symbol == "ETHUSDT" else {})
    )
    async with exchange() as server:
        listed = await listed_symbols(api(server.http_url), LISTED, Metrics())
    assert listed == Listed(["BTCUSDT", "SOLUSDT"], {"ETHUSDT": "does not trade: its status is BREAK"})
    assert caplog.messages == ["symbol ETHUSDT does not trade: its status is BREAK"]
