"""The REST endpoints that a market data client uses, with Binance's answers and errors.

`GET /api/v3/ping`, `/time`, `/exchangeInfo` and `/depth`. A bad request gets status 400 and
`{"code": …, "msg": …}` (source: errors.md of binance/binance-spot-api-docs).
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec
from aiohttp import web

from producer.exchange.market import Market
from producer.exchange.messages import DepthSnapshot, encode
from producer.exchange.symbols import SymbolInfo
from producer.exchange.units import to_text

DEFAULT_DEPTH: Final = 100
MAX_DEPTH: Final = 5000

_SYMBOL: Final = r"[A-Z0-9-_.]{1,20}"
_SYMBOLS: Final = rf'^\["{_SYMBOL}"(,"{_SYMBOL}"){{0,}}\]$'
_LIMIT: Final = r"^[0-9]{1,20}$"
_RATE_LIMITS: Final = [
    {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000},
    {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100},
    {"rateLimitType": "ORDERS", "interval": "DAY", "intervalNum": 1, "limit": 200000},
    {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 61000},
]
_ORDER_TYPES: Final = [
    "LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT",
]  # fmt: skip


class ApiError(Exception):
    """A request that is refused, with Binance's code and text."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class RestApi:
    """The endpoints over one market. `clock` gives nanoseconds since the Unix epoch."""

    def __init__(self, market: Market, clock: Callable[[], int]) -> None:
        self._market = market
        self._clock = clock

    def routes(self) -> list[web.RouteDef]:
        """Return what to add to an aiohttp application."""
        return [
            web.get("/api/v3/ping", _endpoint(self._ping)),
            web.get("/api/v3/time", _endpoint(self._time)),
            web.get("/api/v3/exchangeInfo", _endpoint(self._exchange_info)),
            web.get("/api/v3/depth", _endpoint(self._depth)),
        ]

    def _ping(self, request: web.Request) -> Any:
        _params(request)
        return {}

    def _time(self, request: web.Request) -> Any:
        _params(request)
        return {"serverTime": self._clock() // 1_000_000}

    def _exchange_info(self, request: web.Request) -> Any:
        params = _params(request, "symbol", "symbols", "permissions")
        return {
            "timezone": "UTC",
            "serverTime": self._clock() // 1_000_000,
            "rateLimits": _RATE_LIMITS,
            "exchangeFilters": [],
            "symbols": [_rules(self._market.info(symbol)) for symbol in self._chosen(params)],
        }

    def _depth(self, request: web.Request) -> Any:
        params = _params(request, "symbol", "limit")
        if not params.get("symbol"):
            raise ApiError(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
        symbol = self._listed(_matching(params, "symbol", rf"^{_SYMBOL}$"))
        limit = int(_matching(params, "limit", _LIMIT)) if "limit" in params else DEFAULT_DEPTH
        if not limit:
            raise ApiError(-1130, "Data sent for parameter 'limit' is not valid.")
        return DepthSnapshot.of(self._market.depth(symbol, min(limit, MAX_DEPTH)))

    def _chosen(self, params: Mapping[str, str]) -> list[str]:
        if "symbol" in params and "symbols" in params:
            raise ApiError(-1128, "Combination of optional parameters invalid.")
        if "symbol" in params:
            return [self._listed(_matching(params, "symbol", rf"^{_SYMBOL}$"))]
        if "symbols" in params:
            names: list[str] = msgspec.json.decode(_matching(params, "symbols", _SYMBOLS))
            return [self._listed(name) for name in names]
        return list(self._market.symbols())

    def _listed(self, symbol: str) -> str:
        if symbol not in self._market.symbols():
            raise ApiError(-1121, "Invalid symbol.")
        return symbol


def _endpoint(answer: Callable[[web.Request], Any]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        try:
            status, content = 200, answer(request)
        except ApiError as error:
            status, content = 400, {"code": error.code, "msg": str(error)}
        return web.Response(status=status, body=encode(content), content_type="application/json")

    return handle


def _params(request: web.Request, *known: str) -> dict[str, str]:
    query = request.query
    if len(set(query)) < len(query):
        raise ApiError(-1101, "Duplicate values for a parameter detected.")
    read = sum(name in known for name in query)
    if read < len(query):
        if not known:
            raise ApiError(-1101, f"Too many parameters; expected '0' and received '{len(query)}'.")
        raise ApiError(
            -1104,
            f"Not all sent parameters were read; read '{read}' parameter(s) but was sent '{len(query)}'.",
        )
    return dict(query)


def _matching(params: Mapping[str, str], name: str, pattern: str) -> str:
    if not re.fullmatch(pattern, params[name]):
        text = f"Illegal characters found in parameter '{name}'; legal range is '{pattern}'."
        raise ApiError(-1100, text)
    return params[name]


def _rules(info: SymbolInfo) -> dict[str, Any]:
    return {
        "symbol": info.symbol,
        "status": "TRADING",
        "baseAsset": info.base,
        "baseAssetPrecision": 8,
        "quoteAsset": info.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": _ORDER_TYPES,
        "icebergAllowed": True,
        "ocoAllowed": True,
        "otoAllowed": True,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": True,
        "cancelReplaceAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": _filters(info),
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH"],
    }


def _filters(info: SymbolInfo) -> list[dict[str, Any]]:
    tick, step = to_text(info.tick), to_text(info.step)
    max_price, max_quantity = to_text(info.tick * 10**8), to_text(info.step * 9 * 10**8)
    return [
        {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": max_price, "tickSize": tick},
        {"filterType": "LOT_SIZE", "minQty": step, "maxQty": max_quantity, "stepSize": step},
        {"filterType": "ICEBERG_PARTS", "limit": 10},
        {
            "filterType": "NOTIONAL",
            "minNotional": "5.00000000",
            "applyMinToMarket": True,
            "maxNotional": "9000000.00000000",
            "applyMaxToMarket": False,
            "avgPriceMins": 5,
        },
        {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
        {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": 5},
    ]
