"""Which of the wanted symbols does the exchange know?

Asked before anything is built: Binance answers a list with one unknown symbol by a refusal that does not say
which, and NautilusTrader keeps a core busy while its client waits to connect.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Final

from nautilus_trader.adapters.binance.common.enums import BinanceErrorCode
from nautilus_trader.adapters.binance.http.error import BinanceClientError, get_binance_error_code

from producer import backoff
from producer.metrics import Metrics

REQUEST_TIMEOUT: Final = 10.0
RETRY_FIRST: Final = 0.5
RETRY_LONGEST: Final = 30.0

log = logging.getLogger(__name__)


async def known_symbols(market: Any, wanted: Sequence[str], metrics: Metrics) -> list[str]:
    """Return those of `wanted` that can be subscribed to; wait for the exchange as long as it takes.

    `market` is NautilusTrader's `BinanceSpotMarketHttpAPI`. Unknown symbols are logged by name.
    """
    for delay in backoff.delays(RETRY_FIRST, RETRY_LONGEST):
        try:
            known = await _ask(market, wanted)
        except Exception as error:
            # Whatever it was (no network, limits, maintenance), only the exchange can end it.
            metrics.error("symbols", error)
            log.warning("exchange does not answer, next try in %.1f s: %r", delay, error)
            await asyncio.sleep(delay)
            continue
        for symbol in wanted:
            if symbol not in known:
                log.error("symbol %s is not known to the exchange", symbol, extra={"symbol": symbol})
        return [symbol for symbol in wanted if symbol in known]
    raise AssertionError("delays never end")


async def _ask(market: Any, symbols: Sequence[str]) -> set[str]:
    try:
        async with asyncio.timeout(REQUEST_TIMEOUT):
            info = await market.query_spot_exchange_info(symbols=list(symbols))
    except BinanceClientError as error:
        if get_binance_error_code(error) is not BinanceErrorCode.BAD_SYMBOL:
            raise
        if len(symbols) == 1:
            return set()
        middle = len(symbols) // 2
        return await _ask(market, symbols[:middle]) | await _ask(market, symbols[middle:])
    return {listed.symbol for listed in info.symbols}
