"""Scenarios: what is understood, what is told, and that live detectors report what was played while it was."""

import asyncio
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import ClientSession

from app.microstructure.engine import EngineParams, SymbolEngine
from app.microstructure.events import DeltasPayload, Nanos, OrderBookDeltas, TradePayload, TradeTick
from app.microstructure.rfc3339 import parse as parse_time
from app.scorecard.catalogue import KINDS
from app.scorecard.trials import GRACE_SEC
from producer.book_sync import Apply, BookSync, Replace
from producer.exchange.messages import DepthSnapshot, DepthUpdate, TextLevel, Trade
from producer.exchange.scenario import SCENARIOS, Planned, ScenarioError, Truth, TruthFile, parse
from producer.exchange.server import ExchangeServer
from producer.exchange.sim import SimMarket
from producer.exchange.stage import ScenarioMarket

NS = 1_000_000_000
START_NS = 1_700_000_000 * NS
MARKET = ["BTCUSDT", "ETHUSDT"]
PLAYED = "spoofing@70s:BTCUSDT,iceberg@70s:ETHUSDT,flash_crash@70s:SOLUSDT,requotes@70s:BNBUSDT"
SYMBOLS = ["BTCUSDT", "ETHUSDT", "SOLUSDT", "BNBUSDT"]
SPEED = 25


def test_a_list_of_scenarios_is_understood() -> None:
    assert parse("spoofing@30s, flash_crash@2m:ETHUSDT", MARKET) == [
        Planned("spoofing", "BTCUSDT", 30),
        Planned("flash_crash", "ETHUSDT", 120),
    ]


def test_every_kind_of_the_scorecard_can_be_played() -> None:
    assert {kind.name for kind in SCENARIOS.values()} == {kind.name for kind in KINDS}
    assert parse("large_cancels@0s", MARKET)[0].kind.role == "look_alike"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("nosuch@30s", "'nosuch' is not known; allowed are spoofing, iceberg, flash_crash, spoofing_near"),
        ("spoofing", "NAME@TIME or NAME@TIME:SYMBOL"),
        ("spoofing@30", "a whole number and s, m or h"),
        ("spoofing@-1s", "a whole number and s, m or h"),
        ("spoofing@25h", "at most 24h"),
        ("spoofing@1s,", "NAME@TIME or NAME@TIME:SYMBOL"),
        ("spoofing@1s:SOLUSDT", "symbol 'SOLUSDT' is not of this market: BTCUSDT, ETHUSDT"),
        ("spoofing@1s:", "symbol '' is not of this market"),
    ],
)
def test_what_is_not_understood_is_one_line_that_lists_what_is_allowed(text: str, problem: str) -> None:
    with pytest.raises(ScenarioError) as refused:
        parse(text, MARKET)
    assert problem in str(refused.value)
    assert "\n" not in str(refused.value)


def staged(text: str, tell: Any) -> ScenarioMarket:
    sim = SimMarket(MARKET, seed=3, rate=20, start_ns=START_NS)
    return ScenarioMarket(sim, parse(text, MARKET), seed=3, start_ns=START_NS, tell=tell)


def test_the_truth_is_written_when_a_scenario_is_over_and_the_next_begins_after_it(tmp_path: Path) -> None:
    path = tmp_path / "truth.jsonl"
    market = staged("large_cancels@5s,spoofing@6s", TruthFile(path).tell)
    for second in range(1, 100):
        list(market.advance(START_NS + second * NS, ()))
    market.close()
    first, second_one = (msgspec.json.decode(line, type=Truth) for line in path.read_bytes().splitlines())
    assert (first.scenario, first.role, first.came_about) == ("large_cancels", "look_alike", True)
    assert (second_one.scenario, second_one.kind, second_one.planned_sec) == ("spoofing", "spoofing near", 6)
    assert START_NS + 5 * NS <= parse_time(first.start) < parse_time(first.end) <= parse_time(second_one.start)


def test_a_scenario_that_the_end_cuts_off_did_not_come_about() -> None:
    told: list[Truth] = []
    market = staged("orderly_fall@1s", told.append)
    list(market.advance(START_NS + 10 * NS, ()))
    assert told == []
    market.close()
    assert [truth.came_about for truth in told] == [False]


def test_a_symbol_without_scenarios_is_left_as_it_is() -> None:
    plain = SimMarket(MARKET, seed=3, rate=20, start_ns=START_NS)
    market = staged("spoofing@1s:BTCUSDT", lambda truth: None)
    wanted = {"ethusdt@trade", "ethusdt@depth@100ms", "ethusdt@bookTicker"}
    end = START_NS + 20 * NS
    assert list(market.advance(end, wanted)) == list(plain.advance(end, wanted))
    assert market.depth("ETHUSDT", 50) == plain.depth("ETHUSDT", 50)


class Watched:
    """A worker's engine behind the exchange's streams; notes when each kind of anomaly was reported."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.reported: dict[str, list[int]] = {}
        self._engine = SymbolEngine(symbol, EngineParams())
        self._sync: BookSync[DepthUpdate, DepthSnapshot] = BookSync()
        self._sync.start()
        self._count = 0
        self._asked_ns = 0

    def trade(self, trade: Trade) -> None:
        payload = TradePayload(
            float(trade.price), float(trade.quantity), "sell" if trade.buyer_is_maker else "buy", trade.trade_id
        )
        at = Nanos(trade.trade_time * 1_000_000)
        self._apply(TradeTick(symbol=self.symbol, venue="BINANCE", ts_event=at, payload=payload))

    def book(self, message: DepthUpdate | DepthSnapshot) -> None:
        sync = self._sync
        for step in sync.on_diff(message) if isinstance(message, DepthUpdate) else sync.on_snapshot(message):
            if isinstance(step, Apply):
                diff = step.diff
                self._deltas(diff.event_time, diff.first_update_id, diff.final_update_id, diff.bids, diff.asks)
            elif isinstance(step, Replace):
                assert step.continued_by is not None
                last, event_time = step.snapshot.last_update_id, step.continued_by.event_time
                self._deltas(event_time, last, last, step.snapshot.bids, step.snapshot.asks, snapshot=True)

    def _deltas(
        self, ms: int, first: int, final: int, bids: list[TextLevel], asks: list[TextLevel], *, snapshot: bool = False
    ) -> None:
        levels = [[(float(price), float(qty)) for price, qty in side] for side in (bids, asks)]
        payload = DeltasPayload(first, final, snapshot, *levels)
        at = Nanos(ms * 1_000_000)
        self._apply(OrderBookDeltas(symbol=self.symbol, venue="BINANCE", ts_event=at, payload=payload))

    def _apply(self, event: TradeTick | OrderBookDeltas) -> None:
        self._engine.apply(event, self._count)
        self._count += 1
        now = int(event.ts_event)
        if now > self._asked_ns + NS:
            self._asked_ns = now
            for anomaly in self._engine.slow_sections(now).anomalies or ():
                self.reported.setdefault(anomaly.type, []).append(now)


def fast_clock() -> Any:
    began = time.monotonic_ns()
    return lambda: START_NS + (time.monotonic_ns() - began) * SPEED


async def watch(server: ExchangeServer, until_ns: int) -> dict[str, Watched]:
    """Follow every symbol over the real protocol until the market's time `until_ns`."""
    watched = {symbol: Watched(symbol) for symbol in SYMBOLS}
    streams = "/".join(f"{symbol.lower()}@{kind}" for symbol in SYMBOLS for kind in ("trade", "depth@100ms"))
    fetched: set[str] = set()
    async with ClientSession(server.http_url) as http, http.ws_connect("/stream", params={"streams": streams}) as line:
        async for frame in line:
            message = msgspec.json.decode(frame.data)
            data = message["data"]
            symbol = data["s"]
            if data["e"] == "trade":
                watched[symbol].trade(msgspec.convert(data, Trade))
            else:
                watched[symbol].book(msgspec.convert(data, DepthUpdate))
            if data["E"] * 1_000_000 > until_ns:
                break
            if symbol not in fetched and data["e"] != "trade":
                fetched.add(symbol)
                async with http.get("/api/v3/depth", params={"symbol": symbol, "limit": "5000"}) as answer:
                    snapshot = msgspec.json.decode(await answer.read(), type=DepthSnapshot)
                asyncio.get_running_loop().call_later(0.1, watched[symbol].book, snapshot)
    return watched


async def test_live_detectors_report_what_is_played_while_it_is() -> None:
    told: list[Truth] = []
    sim = SimMarket(SYMBOLS, seed=7, rate=20, start_ns=START_NS)
    market = ScenarioMarket(sim, parse(PLAYED, SYMBOLS), seed=7, start_ns=START_NS, tell=told.append)
    async with asyncio.timeout(60), ExchangeServer(market, clock=fast_clock()) as server:
        watched = await watch(server, START_NS + 135 * NS)
    assert {truth.symbol: truth.came_about for truth in told} == dict.fromkeys(SYMBOLS, True)
    for truth in told:
        reported = watched[truth.symbol].reported
        grace_ns = int(GRACE_SEC[truth.detector] * NS)
        for detector, times in reported.items():
            assert detector == truth.detector
            assert parse_time(truth.start) <= times[0] <= times[-1] <= parse_time(truth.end) + grace_ns
        assert bool(reported) == (truth.role == "pattern"), truth
