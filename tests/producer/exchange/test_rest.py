"""The REST endpoints, asked by a real HTTP client over a real port."""

from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import ClientSession

from producer.exchange.book import Depth
from producer.exchange.rest import DEFAULT_DEPTH, MAX_DEPTH
from producer.exchange.sim import SimMarket


async def get(http: ClientSession, path: str, **params: str) -> tuple[int, Any]:
    async with http.get(path, params=params) as response:
        assert response.content_type == "application/json"
        return response.status, await response.json()


async def test_ping_and_time_answer(http: ClientSession, clock: Callable[[], int]) -> None:
    assert await get(http, "/api/v3/ping") == (200, {})
    assert await get(http, "/api/v3/time") == (200, {"serverTime": clock() // 1_000_000})


async def test_exchange_info_gives_all_one_or_several_symbols(http: ClientSession) -> None:
    for params, symbols in (
        ({}, ["BTCUSDT", "ETHUSDT"]),
        ({"symbol": "ETHUSDT"}, ["ETHUSDT"]),
        ({"symbols": '["ETHUSDT","BTCUSDT"]'}, ["ETHUSDT", "BTCUSDT"]),
    ):
        status, info = await get(http, "/api/v3/exchangeInfo", **params)
        assert status == 200
        assert [it["symbol"] for it in info["symbols"]] == symbols
        assert info["timezone"] == "UTC"
        assert info["exchangeFilters"] == []


async def test_exchange_info_tells_the_price_and_quantity_grid(http: ClientSession) -> None:
    _, info = await get(http, "/api/v3/exchangeInfo", symbol="BTCUSDT")
    (symbol,) = info["symbols"]
    filters = {it["filterType"]: it for it in symbol["filters"]}
    assert (symbol["baseAsset"], symbol["quoteAsset"], symbol["status"]) == ("BTC", "USDT", "TRADING")
    assert filters["PRICE_FILTER"] == {
        "filterType": "PRICE_FILTER",
        "minPrice": "0.01000000",
        "maxPrice": "1000000.00000000",
        "tickSize": "0.01000000",
    }
    assert filters["LOT_SIZE"] == {
        "filterType": "LOT_SIZE",
        "minQty": "0.00001000",
        "maxQty": "9000.00000000",
        "stepSize": "0.00001000",
    }


BAD_REQUESTS: list[tuple[str, dict[str, str], int, str]] = [
    ("depth", {"symbol": "NOPEUSDT"}, -1121, "Invalid symbol."),
    ("depth", {}, -1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed."),
    (
        "depth",
        {"symbol": "btcusdt"},
        -1100,
        "Illegal characters found in parameter 'symbol'; legal range is '^[A-Z0-9-_.]{1,20}$'.",
    ),
    (
        "depth",
        {"symbol": "BTCUSDT", "limit": "-5"},
        -1100,
        "Illegal characters found in parameter 'limit'; legal range is '^[0-9]{1,20}$'.",
    ),
    (
        "depth",
        {"symbol": "BTCUSDT", "limit": "0"},
        -1130,
        "Data sent for parameter 'limit' is not valid.",
    ),
    (
        "depth",
        {"symbol": "BTCUSDT", "colour": "red"},
        -1104,
        "Not all sent parameters were read; read '1' parameter(s) but was sent '2'.",
    ),
    ("exchangeInfo", {"symbol": "NOPEUSDT"}, -1121, "Invalid symbol."),
    ("exchangeInfo", {"symbols": '["BTCUSDT","NOPEUSDT"]'}, -1121, "Invalid symbol."),
    (
        "exchangeInfo",
        {"symbol": "BTCUSDT", "symbols": '["BTCUSDT"]'},
        -1128,
        "Combination of optional parameters invalid.",
    ),
    ("ping", {"x": "1"}, -1101, "Too many parameters; expected '0' and received '1'."),
]


@pytest.mark.parametrize(("path", "params", "code", "message"), BAD_REQUESTS)
async def test_a_bad_request_gets_binances_error(
    http: ClientSession, path: str, params: dict[str, str], code: int, message: str
) -> None:
    assert await get(http, f"/api/v3/{path}", **params) == (400, {"code": code, "msg": message})


async def test_symbols_that_are_no_list_of_symbols_are_refused(http: ClientSession) -> None:
    for text in ("BTCUSDT", '["BTCUSDT"', "[]", '["btcusdt"]', '["BTCUSDT", "ETHUSDT"]'):
        status, error = await get(http, "/api/v3/exchangeInfo", symbols=text)
        assert (status, error["code"]) == (400, -1100)
        assert "'symbols'; legal range is" in error["msg"]


async def test_a_parameter_sent_twice_is_refused(http: ClientSession) -> None:
    async with http.get("/api/v3/depth?symbol=BTCUSDT&symbol=ETHUSDT") as response:
        assert response.status == 400
        assert (await response.json())["code"] == -1101


async def test_depth_gives_the_best_levels_as_text(http: ClientSession, sim: SimMarket) -> None:
    status, depth = await get(http, "/api/v3/depth", symbol="BTCUSDT", limit="3")
    assert status == 200
    assert list(depth) == ["lastUpdateId", "bids", "asks"]
    assert depth["lastUpdateId"] == sim.depth("BTCUSDT", 1).last_update_id
    prices = [float(price) for price, _ in depth["bids"]]
    assert prices == sorted(prices, reverse=True)
    assert prices[0] < float(depth["asks"][0][0])
    assert all(len(text.partition(".")[2]) == 8 for level in depth["bids"] for text in level)


@pytest.mark.parametrize(
    ("limit", "asked"), [("1", 1), ("7", 7), (None, DEFAULT_DEPTH), ("6000", MAX_DEPTH), ("9" * 20, MAX_DEPTH)]
)
async def test_depth_obeys_its_limit(
    http: ClientSession, sim: SimMarket, monkeypatch: pytest.MonkeyPatch, limit: str | None, asked: int
) -> None:
    limits: list[int] = []
    depth = sim.depth

    def noted(symbol: str, limit: int) -> Depth:
        limits.append(limit)
        return depth(symbol, limit)

    monkeypatch.setattr(sim, "depth", noted)
    params = {"symbol": "BTCUSDT"} | ({"limit": limit} if limit else {})
    _, answer = await get(http, "/api/v3/depth", **params)
    assert limits == [asked]
    assert len(answer["bids"]) == min(asked, len(depth("BTCUSDT", MAX_DEPTH).bids))
