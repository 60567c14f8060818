"""Trading rules: how a symbol splits into base and quote asset, and its price and quantity grid.

Well-known symbols have Binance's own grid (as of 2025) and a plausible price; any other symbol that ends in a
known quote asset gets a default.
"""

from typing import Final

import msgspec

from app.microstructure.events import SYMBOL_ALLOWED, is_symbol
from producer.exchange.units import to_units

# Longest first, so that FDUSD is not read as a base asset that ends in FD, quoted in USD.
QUOTE_ASSETS: Final = (
    "FDUSD", "USDT", "USDC", "TUSD", "BUSD", "EURI", "USD1",
    "BTC", "ETH", "BNB", "EUR", "TRY", "BRL", "JPY", "USD",
)  # fmt: skip


class SymbolInfo(msgspec.Struct, frozen=True):
    """A listed symbol. `tick` and `step` are the price and quantity grid, in units."""

    symbol: str
    base: str
    quote: str
    tick: int
    step: int


class Listing(msgspec.Struct, frozen=True):
    """A symbol of the synthetic market: its rules, where its price starts and what is common on one level.

    `price` and `quantity` are in units and lie on the grid.
    """

    info: SymbolInfo
    price: int
    quantity: int


# symbol: price, tick, step
_KNOWN: Final = {
    "BTCUSDT": ("61800", "0.01", "0.00001"),
    "BTCUSDC": ("61800", "0.01", "0.00001"),
    "BTCFDUSD": ("61800", "0.01", "0.00001"),
    "ETHUSDT": ("2650", "0.01", "0.0001"),
    "ETHUSDC": ("2650", "0.01", "0.0001"),
    "ETHBTC": ("0.043", "0.00001", "0.0001"),
    "BNBUSDT": ("560", "0.01", "0.001"),
    "SOLUSDT": ("155", "0.01", "0.001"),
    "XRPUSDT": ("0.58", "0.0001", "0.1"),
    "DOGEUSDT": ("0.104", "0.00001", "1"),
    "ADAUSDT": ("0.34", "0.0001", "0.1"),
    "TRXUSDT": ("0.128", "0.0001", "0.1"),
    "AVAXUSDT": ("21.6", "0.01", "0.01"),
    "LINKUSDT": ("10.4", "0.01", "0.01"),
    "TONUSDT": ("6.5", "0.001", "0.01"),
    "DOTUSDT": ("4.6", "0.001", "0.01"),
    "LTCUSDT": ("62", "0.01", "0.001"),
    "BCHUSDT": ("340", "0.1", "0.001"),
    "SHIBUSDT": ("0.0000138", "0.00000001", "1"),
    "PEPEUSDT": ("0.0000079", "0.00000001", "1"),
}
_DEFAULT: Final = ("10", "0.001", "0.01")
_DEFAULT_IN_COINS: Final = ("0.001", "0.0000001", "0.1")
# What a common level is worth, in the quote asset.
_LEVEL_VALUE: Final = {"BTC": 0.025, "ETH": 0.6, "BNB": 2.5}
_LEVEL_VALUE_IN_MONEY: Final = 1500.0


def split_assets(symbol: str) -> tuple[str, str]:
    """Return base and quote asset of a symbol.

    Raises:
        ValueError: it is malformed or ends in no known quote asset.
    """
    if not is_symbol(symbol):
        raise ValueError(f"symbol {symbol!r} is not allowed: {SYMBOL_ALLOWED}")
    for quote in QUOTE_ASSETS:
        if symbol.endswith(quote) and symbol != quote:
            return symbol.removesuffix(quote), quote
    raise ValueError(f"symbol {symbol!r} does not end in a known quote asset: {', '.join(QUOTE_ASSETS)}")


def listing(symbol: str) -> Listing:
    """Return how the synthetic market lists a symbol.

    Raises:
        ValueError: see `split_assets`.
    """
    base, quote = split_assets(symbol)
    default = _DEFAULT_IN_COINS if quote in _LEVEL_VALUE else _DEFAULT
    price_text, tick, step = _KNOWN.get(symbol, default)
    info = SymbolInfo(symbol, base, quote, to_units(tick), to_units(step))
    value = _LEVEL_VALUE.get(quote, _LEVEL_VALUE_IN_MONEY)
    quantity = to_units(f"{value / float(price_text):.8f}")
    return Listing(info, to_units(price_text), max(1, quantity // info.step) * info.step)
