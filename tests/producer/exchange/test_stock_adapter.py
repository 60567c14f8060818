"""The real, unchanged Binance adapter of NautilusTrader takes the server for Binance."""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from producer.exchange.market import Market
from producer.exchange.server import ExchangeServer
from producer.exchange.sim import SimMarket

PROGRAM = Path(__file__).with_name("stock_adapter.py")


async def listen(server: ExchangeServer, symbol: str) -> Any:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(PROGRAM), server.http_url, server.ws_url, symbol,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(90):
        out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return json.loads(next(line for line in out.decode().splitlines() if line.startswith("{")))


async def test_it_receives_trades_deltas_quotes_and_the_ticker_of_the_synthetic_market() -> None:
    market = SimMarket(["BTCUSDT", "ETHUSDT"], seed=7, rate=100, start_ns=time.time_ns())
    async with ExchangeServer(market) as server:
        seen = await listen(server, "ETHUSDT")
    assert min(seen["trades"], seen["deltas"], seen["quotes"]) >= 20
    assert seen["tickers"] >= 2
    assert seen["crossed"] == 0
    assert seen["trade_ids_without_gap"]
    assert seen["sequences_rise"]
    assert min(seen["levels"]) >= 50
    assert seen["instrument"] == {"price_increment": "0.01000000", "size_increment": "0.00010000"}
    assert 2000 < float(seen["last_price"]) < 3500


@pytest.mark.tape
async def test_it_plays_a_recorded_tape_from_its_head(recorded_tape: Path, open_tape: Callable[..., Market]) -> None:
    market = open_tape(recorded_tape, start_delay_ns=1_000_000_000)
    async with ExchangeServer(market) as server:
        seen = await listen(server, "BTCUSDT")
    assert min(seen["trades"], seen["deltas"], seen["quotes"]) >= 20
    assert seen["first_trade_id"] == 3_735_683_259  # the tape's first
    assert seen["trade_ids_without_gap"]
    assert seen["crossed"] == 0
    assert seen["instrument"]["price_increment"] == "0.01000000"
