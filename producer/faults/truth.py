"""The server's own book at every update id at which a client's book may stand.

A market that wraps another and takes a copy of its book whenever a diff leaves or a snapshot is asked for.
Faults come behind it, so it always tells what would have been right.
"""

from collections.abc import Container, Iterator, Sequence

import msgspec

from producer.exchange.book import Depth
from producer.exchange.market import Market
from producer.exchange.messages import DepthUpdate, Message
from producer.exchange.symbols import SymbolInfo

_ALL = 5000
_DIFFS = "@depth@100ms"

_decode_update = msgspec.json.Decoder(DepthUpdate).decode


class _Also:
    """Streams that are wanted, and the diffs beside them."""

    def __init__(self, wanted: Container[str], diffs: Container[str]) -> None:
        self._wanted = wanted
        self._diffs = diffs

    def __contains__(self, stream: object) -> bool:
        return stream in self._diffs or stream in self._wanted


class TrueMarket:
    """A `Market` that remembers: `truth[symbol][update_id]` is the whole book as of that id."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._diffs = {f"{symbol.lower()}{_DIFFS}": symbol for symbol in market.symbols()}
        self.truth: dict[str, dict[int, Depth]] = {symbol: {} for symbol in market.symbols()}
        self.event_ms: dict[str, dict[int, int]] = {symbol: {} for symbol in market.symbols()}

    def newest(self, symbol: str) -> int:
        """Return the id of the market's newest update."""
        return self._market.depth(symbol, 1).last_update_id

    def symbols(self) -> Sequence[str]:
        """Return the listed symbols."""
        return self._market.symbols()

    def info(self, symbol: str) -> SymbolInfo:
        """Return the trading rules."""
        return self._market.info(symbol)

    def depth(self, symbol: str, limit: int) -> Depth:
        """Return the book, and note it."""
        self._note(symbol)
        return self._market.depth(symbol, limit)

    def subscribed(self, now_ns: int) -> None:
        """Hand it on."""
        self._market.subscribed(now_ns)

    def close(self) -> None:
        """Hand it on."""
        self._market.close()

    def advance(self, now_ns: int, wanted: Container[str]) -> Iterator[Message]:
        """Move the market on, and note its book at each diff, whether anybody wants it or not."""
        for message in self._market.advance(now_ns, _Also(wanted, self._diffs)):
            symbol = self._diffs.get(message.stream)
            if symbol is not None:
                self._note(symbol)
                update = _decode_update(message.payload)
                self.event_ms[symbol][update.final_update_id] = update.event_time
            if message.stream in wanted:
                yield message

    def _note(self, symbol: str) -> None:
        depth = self._market.depth(symbol, _ALL)
        self.truth[symbol][depth.last_update_id] = depth
