"""The list of symbols as it changes, against the real exchange server; what is subscribed to is noted."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest
from nautilus_trader.adapters.binance.common.enums import BinanceAccountType
from nautilus_trader.adapters.binance.http.client import BinanceHttpClient
from nautilus_trader.adapters.binance.spot.http.market import BinanceSpotMarketHttpAPI
from nautilus_trader.common.component import LiveClock
from nautilus_trader.model.identifiers import InstrumentId

from producer import symbol_changes
from producer.exchange import rest
from producer.exchange.server import ExchangeServer
from producer.exchange.sim import SimMarket
from producer.faults.adapters import Ours
from producer.faults.judge import Judge
from producer.faults.truth import TrueMarket
from producer.health import Arrivals
from producer.metrics import Metrics
from producer.symbol_changes import SymbolChanges
from producer.timing import Timing

Until = Callable[..., Awaitable[None]]


class Subscriber:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.is_running = True

    def add(self, instrument_ids: Sequence[InstrumentId]) -> None:
        self.told += [f"+{it.symbol.value}" for it in instrument_ids]

    def remove(self, instrument_ids: Sequence[InstrumentId]) -> None:
        self.told += [f"-{it.symbol.value}" for it in instrument_ids]


@pytest.fixture
async def market() -> AsyncIterator[BinanceSpotMarketHttpAPI]:
    sim = SimMarket(["BTCUSDT", "ETHUSDT", "SOLUSDT"], seed=1, rate=1, start_ns=time.time_ns())
    async with ExchangeServer(sim) as server:
        http = BinanceHttpClient(LiveClock(), None, None, server.http_url)
        yield BinanceSpotMarketHttpAPI(http, BinanceAccountType.SPOT)


async def test_what_is_new_is_added_what_is_gone_is_removed_and_the_rest_is_left_alone(
    market: BinanceSpotMarketHttpAPI, until: Until
) -> None:
    wanted, arrivals, subscriber = ["ETHUSDT", "SOLUSDT"], Arrivals(), Subscriber()
    changes = SymbolChanges(market, lambda: wanted, arrivals, Metrics())
    assert await changes.begin(["BTCUSDT", "ETHUSDT"]) == ["BTCUSDT", "ETHUSDT"]
    following = asyncio.create_task(changes.follow(subscriber))
    changes.ask()
    await until(lambda: len(subscriber.told) == 2)
    assert subscriber.told == ["-BTCUSDT", "+SOLUSDT"]
    assert set(arrivals.ages_ms()) == {"ETHUSDT", "SOLUSDT"}
    following.cancel()


async def test_a_list_that_is_not_allowed_or_not_known_changes_nothing(
    market: BinanceSpotMarketHttpAPI, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    lists: list[list[str]] = [[], ["NOSUCH"], ["ETHUSDT"]]

    def wanted() -> list[str]:
        given = lists.pop(0)
        if not given:
            raise ValueError("SYMBOLS='btc' is not allowed")
        return given

    subscriber = Subscriber()
    changes = SymbolChanges(market, wanted, Arrivals(), Metrics())
    await changes.begin(["BTCUSDT"])
    following = asyncio.create_task(changes.follow(subscriber))
    for said in ("SYMBOLS='btc' is not allowed", "none of NOSUCH can be subscribed to"):
        changes.ask()
        await until(lambda said=said: said in caplog.text)
        assert (changes.symbols, subscriber.told) == (["BTCUSDT"], [])
    changes.ask()
    await until(lambda: subscriber.told == ["-BTCUSDT", "+ETHUSDT"])
    following.cancel()


async def test_a_symbol_whose_trading_pauses_is_asked_about_again_and_comes_back(
    market: BinanceSpotMarketHttpAPI, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(symbol_changes, "AGAIN_SEC", 0.05)
    rules, paused = rest._rules, {"ETHUSDT"}
    monkeypatch.setattr(
        rest, "_rules", lambda info: rules(info) | ({"status": "BREAK"} if info.symbol in paused else {})
    )
    subscriber = Subscriber()
    changes = SymbolChanges(market, lambda: [], Arrivals(), Metrics())
    assert await changes.begin(["BTCUSDT", "ETHUSDT"]) == ["BTCUSDT"]
    assert changes.refused == {"ETHUSDT": "does not trade: its status is BREAK"}
    following = asyncio.create_task(changes.follow(subscriber))
    paused.clear()
    await until(lambda: subscriber.told == ["+ETHUSDT"])
    assert changes.refused == {}
    following.cancel()


async def test_a_hundred_symbols_come_in_within_the_limits(until: Until) -> None:
    symbols = [f"S{number:02d}USDT" for number in range(100)]
    market = TrueMarket(SimMarket(symbols, seed=1, rate=1, start_ns=time.time_ns()))
    judge = Judge(market)
    ours = Ours(judge, Timing())
    async with ExchangeServer(market) as server:
        await ours.start(server.http_url, server.ws_url, symbols)
        await until(lambda: all(verdict.known for verdict in judge.verdicts.values()), 60)
        await ours.stop()
    assert sum(verdict.wrong for verdict in judge.verdicts.values()) == 0
    assert not [symbol for symbol in symbols if ours.metrics.resyncs(symbol) != 1], "each fetched once"
