"""Which of the wanted symbols can be subscribed to?

Asked before anything is subscribed to: the streams of an unknown symbol are accepted and stay silent, and
NautilusTrader keeps a core busy while its client waits to connect. Binance answers a list with one unknown symbol
by a refusal that does not say which. A delisted symbol is still listed for a while, with another status.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from nautilus_trader.adapters.binance.common.enums import BinanceErrorCode
from nautilus_trader.adapters.binance.http.error import BinanceClientError, get_binance_error_code

from producer import backoff
from producer.metrics import Metrics

RETRY_FIRST: Final = 0.5
RETRY_LONGEST: Final = 30.0

_TRADING: Final = "TRADING"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Listed:
    """The wanted symbols that trade, in their order, and why the others are left out."""

    symbols: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


async def listed_symbols(market: Any, wanted: Sequence[str], metrics: Metrics) -> Listed:
    """Return which of `wanted` can be subscribed to; wait for the exchange as long as it takes.

    `market` is NautilusTrader's `BinanceSpotMarketHttpAPI`. Symbols that are left out are logged by name.
    """
    for delay in backoff.delays(RETRY_FIRST, RETRY_LONGEST):
        try:
            status = await _ask(market, wanted)
        except Exception as error:
            # Whatever it was (no network, limits, maintenance), only the exchange can end it.
            metrics.error("symbols", error)
            log.warning("exchange does not answer, next try in %.1f s: %r", delay, error)
            await asyncio.sleep(delay)
            continue
        refused = {symbol: _reason(status.get(symbol)) for symbol in wanted if status.get(symbol) != _TRADING}
        for symbol, reason in refused.items():
            log.error("symbol %s %s", symbol, reason, extra={"symbol": symbol})
        return Listed([symbol for symbol in wanted if symbol not in refused], refused)
    raise AssertionError("delays never end")


def _reason(status: str | None) -> str:
    return "is not known to the exchange" if status is None else f"does not trade: its status is {status}"


async def _ask(market: Any, symbols: Sequence[str]) -> dict[str, str]:
    try:
        info = await market.query_spot_exchange_info(symbols=list(symbols))
    except BinanceClientError as error:
        if get_binance_error_code(error) is not BinanceErrorCode.BAD_SYMBOL:
            raise
        if len(symbols) == 1:
            return {}
        middle = len(symbols) // 2
        return await _ask(market, symbols[:middle]) | await _ask(market, symbols[middle:])
    return {listed.symbol: listed.status for listed in info.symbols}
