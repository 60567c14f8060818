"""The symbols of a request: which are allowed, and the words for those that are not."""

from typing import Final

from app.microstructure.events import SYMBOL_ALLOWED, is_symbol
from report_server.echo import shown

MOST_SYMBOLS: Final = 50  # in one request


class SymbolsError(ValueError):
    """One line that says what was asked for and what is allowed."""


def checked_symbols(symbols: object) -> list[str]:
    """Return the symbols of a request, each once.

    Raises:
        SymbolsError: no list, an empty one, too long, or one of them is malformed.
    """
    if not isinstance(symbols, list | tuple) or not 1 <= len(symbols) <= MOST_SYMBOLS:
        held = f" with {len(symbols)}" if isinstance(symbols, list | tuple) else f" {shown(symbols)}"
        raise SymbolsError(
            f"invalid argument: symbols{held}; allowed: a list of 1 to {MOST_SYMBOLS}, each {SYMBOL_ALLOWED}"
        )
    for symbol in symbols:
        if not isinstance(symbol, str) or not is_symbol(symbol):
            raise SymbolsError(refusal(symbol))
    return list(dict.fromkeys(symbols))


def refusal(symbol: object) -> str:
    """Return one line that names a symbol which is none, and what is allowed."""
    if symbol is None:
        return f"invalid argument: symbol is missing; allowed: {SYMBOL_ALLOWED}"
    return f"invalid argument: symbol {shown(symbol)}; allowed: {SYMBOL_ALLOWED}"
