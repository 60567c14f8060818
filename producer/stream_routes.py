"""The way of each message to what takes it, by the name of its stream.

Binance puts the name in front of every message of a combined connection, `{"stream":"btcusdt@trade","data":…`, so it
is cut out of the bytes: to decode the message for its name, and then once more for what it holds, took as long as all
that is done with it.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import msgspec

_NAME_AT: Final = len(b'{"stream":"')


class _Named(msgspec.Struct, gc=False):
    stream: str


_decode_named: Final = msgspec.json.Decoder(_Named).decode


class StreamRoutes[S]:
    """Hands messages to the handler of their kind of stream, with what the client keeps of their symbol."""

    def __init__(self, handlers: Mapping[str, Callable[[S, bytes], None]], of_symbol: Callable[[str], S]) -> None:
        self._handlers = handlers
        self._of_symbol = of_symbol
        self._routes: dict[bytes, Callable[[bytes], None]] = {}
        self._left: set[str] = set()

    def take(self, raw: bytes) -> None:
        """Hand a message over.

        Raises:
            ValueError: it is no JSON, or of no stream that there is a handler for.
            Exception: what the handler raises.
        """
        route = self._routes.get(raw[_NAME_AT : raw.find(b'"', _NAME_AT)]) or self._find(raw)
        route(raw)

    def leave(self, symbol: str) -> None:
        """Pass over what is still under way of a symbol."""
        self._left.add(symbol)
        for kind in self._handlers:
            self._routes.pop(_name(symbol, kind), None)

    def come_back(self, symbol: str) -> None:
        """Hand messages of the symbol over again."""
        self._left.discard(symbol)

    def has_left(self, symbol: str) -> bool:
        """Whether messages of the symbol are passed over."""
        return symbol in self._left

    def _find(self, raw: bytes) -> Callable[[bytes], None]:
        stream = _decode_named(raw).stream
        name, _, kind = stream.partition("@")
        symbol = name.upper()
        if symbol in self._left:
            return _pass_over
        handler = self._handlers.get(kind)
        if handler is None:
            raise ValueError(f"nobody takes messages of the stream {stream}")
        route = self._routes[_name(symbol, kind)] = partial(handler, self._of_symbol(symbol))
        return route


def _name(symbol: str, kind: str) -> bytes:
    return f"{symbol.lower()}@{kind}".encode()


def _pass_over(_: bytes) -> None:
    """Take a message of which nobody wants to know."""
