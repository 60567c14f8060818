"""Many symbols for the price of a few: some are simulated, the others have the same market under their own names.

To simulate a busy symbol costs a hundredth of a core, to send a message again under another name a twentieth of that.
So a load of hundreds of symbols fits beside what is being loaded. For a client each symbol is a market of its own, with
its own streams and snapshots; only the prices and ids are those of another one.
"""

from collections.abc import Container, Iterator, Sequence
from typing import Final

from msgspec.structs import replace

from producer.exchange.book import Depth
from producer.exchange.market import Market
from producer.exchange.messages import Message
from producer.exchange.symbols import SymbolInfo, split_assets


class CopiedMarket:
    """A `Market` of `symbols`: the first ones are those of `market`, the others copies of them in turn."""

    def __init__(self, market: Market, symbols: Sequence[str]) -> None:
        """Copy `market` to the symbols that it does not have.

        Raises:
            ValueError: a symbol is not allowed.
        """
        originals = market.symbols()
        self._market = market
        self._assets = {symbol: split_assets(symbol) for symbol in symbols}
        self._original: Final = {symbol: originals[rank % len(originals)] for rank, symbol in enumerate(symbols)}
        self._copies: dict[str, list[str]] = {original: [] for original in originals}
        for symbol, original in self._original.items():
            self._copies[original].append(symbol)
        self._renamings: dict[str, list[tuple[str, bytes]]] = {}

    def symbols(self) -> Sequence[str]:
        """Return the symbols, in the order given."""
        return list(self._original)

    def info(self, symbol: str) -> SymbolInfo:
        """Return a symbol's rules."""
        base, quote = self._assets[symbol]
        return replace(self._market.info(self._original[symbol]), symbol=symbol, base=base, quote=quote)

    def depth(self, symbol: str, limit: int) -> Depth:
        """Return a symbol's book as it is."""
        return self._market.depth(self._original[symbol], limit)

    def subscribed(self, now_ns: int) -> None:
        """Hand it on."""
        self._market.subscribed(now_ns)

    def close(self) -> None:
        """Hand it on."""
        self._market.close()

    def advance(self, now_ns: int, wanted: Container[str]) -> Iterator[Message]:
        """Trade until `now_ns`."""
        for message in self._market.advance(now_ns, _WantedByAny(wanted, self)):
            renamings = self.renamings(message.stream)
            name = renamings[0][1]
            for stream, symbol in renamings:
                if stream in wanted:
                    yield Message(stream, message.payload.replace(name, symbol, 1))

    def renamings(self, stream: str) -> list[tuple[str, bytes]]:
        """Return a stream's names under the original's symbol and all copies, and the field that names each."""
        renamings = self._renamings.get(stream)
        if renamings is None:
            symbol, _, kind = stream.partition("@")
            names = self._copies[symbol.upper()]
            renamings = [(f"{name.lower()}@{kind}", b'"s":"%b"' % name.encode()) for name in names]
            self._renamings[stream] = renamings
        return renamings


class _WantedByAny:
    """Streams that are wanted of an original or of any of its copies."""

    def __init__(self, wanted: Container[str], market: CopiedMarket) -> None:
        self._wanted = wanted
        self._market = market

    def __contains__(self, stream: object) -> bool:
        return any(name in self._wanted for name, _ in self._market.renamings(str(stream)))
