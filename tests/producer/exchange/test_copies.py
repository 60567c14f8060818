"""Copies of a simulated market: each the same market under its own name, on every stream and in every snapshot."""

import json
from collections import defaultdict

import pytest

from producer.exchange.copies import CopiedMarket
from producer.exchange.sim import SimMarket

START_NS = 1_700_000_000_000_000_000
SECOND = 1_000_000_000
KINDS = ("trade", "ticker", "bookTicker", "depth@100ms", "depth20@100ms")
SYMBOLS = ["AAAUSDT", "BBBUSDT", "CCCUSDT", "DDDBTC", "EEEUSDT"]


@pytest.fixture
def market() -> CopiedMarket:
    return CopiedMarket(SimMarket(SYMBOLS[:2], seed=7, rate=50, start_ns=START_NS), SYMBOLS)


def test_each_copy_has_the_messages_of_its_original_under_its_own_name(market: CopiedMarket) -> None:
    wanted = {f"{symbol.lower()}@{kind}" for symbol in SYMBOLS for kind in KINDS}
    alone = SimMarket(SYMBOLS[:2], seed=7, rate=50, start_ns=START_NS)
    streams: dict[str, list[object]] = defaultdict(list)
    for message in market.advance(START_NS + 3 * SECOND, wanted):
        data = json.loads(message.payload)
        assert data.pop("s", message.stream.partition("@")[0].upper()) == message.stream.partition("@")[0].upper()
        streams[message.stream].append(data)
    expected: dict[str, list[object]] = defaultdict(list)
    for message in alone.advance(START_NS + 3 * SECOND, wanted):
        data = json.loads(message.payload)
        data.pop("s", None)
        expected[message.stream].append(data)
    assert set(streams) == wanted
    for symbol, original in zip(SYMBOLS, ["aaausdt", "bbbusdt", "aaausdt", "bbbusdt", "aaausdt"], strict=True):
        for kind in KINDS:
            assert streams[f"{symbol.lower()}@{kind}"] == expected[f"{original}@{kind}"]


def test_only_what_is_wanted_of_a_copy_is_yielded(market: CopiedMarket) -> None:
    wanted = {"cccusdt@trade"}
    assert {message.stream for message in market.advance(START_NS + SECOND, wanted)} == wanted


def test_a_copy_is_listed_with_its_own_assets_and_has_its_originals_book(market: CopiedMarket) -> None:
    assert list(market.symbols()) == SYMBOLS
    info = market.info("DDDBTC")
    assert (info.symbol, info.base, info.quote) == ("DDDBTC", "DDD", "BTC")
    assert info.tick == market.info("BBBUSDT").tick
    assert market.depth("DDDBTC", 50) == market.depth("BBBUSDT", 50)
