"""What an exchange publishes of one symbol, once its book and its trades are known.

Diffs are made the way Binance makes them: a window notes which prices changed, and on its beat sends the
quantities that they have then, under the range of update ids since the beat before. So the ranges of one
stream follow each other without a gap, however many updates fell into a beat, and a quantity always is the
one at the range's last id. Windows also run while nobody listens; only the encoding is saved then.
"""

import re
from collections.abc import Container, Iterable, Iterator
from typing import Final

from producer.exchange.book import Book, Level, Side
from producer.exchange.messages import (
    BookTicker,
    DepthSnapshot,
    DepthUpdate,
    Message,
    Trade,
    encode,
    text_levels,
)
from producer.exchange.symbols import SymbolInfo
from producer.exchange.ticker import RollingTicker
from producer.exchange.units import to_text

PARTIAL_DEPTHS: Final = (5, 10, 20)

is_stream_name: Final = re.compile(
    r"[A-Za-z0-9]{2,20}@(?:trade|bookTicker|ticker|depth(?:5|10|20)?(?:@100ms|@1000ms)?)"
).fullmatch


class StreamNames:
    """The names of a symbol's streams. Those of 1000 ms also go by a name that says so: adapters use it."""

    def __init__(self, symbol: str) -> None:
        prefix = symbol.lower()
        self.trade = f"{prefix}@trade"
        self.book_ticker = f"{prefix}@bookTicker"
        self.ticker = f"{prefix}@ticker"
        self.diff_fast = (f"{prefix}@depth@100ms",)
        self.diff_slow = (f"{prefix}@depth", f"{prefix}@depth@1000ms")
        self.partial_fast = [(levels, (f"{prefix}@depth{levels}@100ms",)) for levels in PARTIAL_DEPTHS]
        self.partial_slow = [
            (levels, (f"{prefix}@depth{levels}", f"{prefix}@depth{levels}@1000ms")) for levels in PARTIAL_DEPTHS
        ]


class DiffWindow:
    """The prices that changed since the last diff of one stream, which ended at `last_update_id`."""

    def __init__(self, last_update_id: int) -> None:
        self.restart(last_update_id)

    def __bool__(self) -> bool:
        return bool(self._bids or self._asks)

    def touch(self, side: Side, price: int) -> None:
        """Note that the level at `price` changed."""
        (self._bids if side is Side.BID else self._asks).add(price)

    def take(self, book: Book, event_ms: int, symbol: str) -> DepthUpdate:
        """Close the window at the book's last update and open the next."""
        update = DepthUpdate(
            event_time=event_ms,
            symbol=symbol,
            first_update_id=self._first,
            final_update_id=book.last_update_id,
            bids=text_levels([(price, book.bids.quantity(price)) for price in sorted(self._bids, reverse=True)]),
            asks=text_levels([(price, book.asks.quantity(price)) for price in sorted(self._asks)]),
        )
        self.restart(book.last_update_id)
        return update

    def restart(self, last_update_id: int) -> None:
        """Open an empty window behind `last_update_id`."""
        self._first = last_update_id + 1
        self._bids: set[int] = set()
        self._asks: set[int] = set()


class Feed:
    """The streams of one symbol. `wanted` is what anybody listens to; times are event times in ms."""

    def __init__(self, info: SymbolInfo, book: Book, ticker: RollingTicker) -> None:
        self.info = info
        self.book = book
        self.ticker = ticker
        self.names = StreamNames(info.symbol)
        self.fast = DiffWindow(book.last_update_id)
        self.slow = DiffWindow(book.last_update_id)

    def trade(self, trade: Trade, price: int, quantity: int, wanted: Container[str]) -> Iterator[Message]:
        """Count a trade and publish it."""
        self.ticker.add_trade(trade.trade_time, trade.trade_id, price, quantity)
        if self.names.trade in wanted:
            yield Message(self.names.trade, encode(trade))

    def book_ticker(self, wanted: Container[str]) -> Iterator[Message]:
        """Publish the best bid and ask under the book's last update id."""
        bid, ask = self.book.best()
        if self.names.book_ticker in wanted and bid and ask:
            yield Message(self.names.book_ticker, encode(_book_ticker(self.info.symbol, self.book, bid, ask)))

    def fast_beat(self, event_ms: int, wanted: Container[str]) -> Iterator[Message]:
        """Publish what leaves every 100 ms: the diff, if anything changed, and the best levels."""
        if self.fast:
            yield from self.fast_diff(event_ms, wanted)
        yield from self.partial_fast(wanted)

    def fast_diff(self, event_ms: int, wanted: Container[str]) -> Iterator[Message]:
        """Publish the diff of 100 ms, be it empty."""
        update = self.fast.take(self.book, event_ms, self.info.symbol)
        return _same(update, self.names.diff_fast, wanted)

    def partial_fast(self, wanted: Container[str]) -> Iterator[Message]:
        """Publish the best 5, 10 and 20 levels of the streams of 100 ms."""
        return _partial(self.book, self.names.partial_fast, wanted)

    def slow_beat(self, event_ms: int, wanted: Container[str]) -> Iterator[Message]:
        """Publish what leaves every second, except the 24 h ticker."""
        if self.slow:
            update = self.slow.take(self.book, event_ms, self.info.symbol)
            yield from _same(update, self.names.diff_slow, wanted)
        yield from _partial(self.book, self.names.partial_slow, wanted)

    def ticker_24h(self, event_ms: int, wanted: Container[str]) -> Iterator[Message]:
        """Publish the 24 h ticker, which also leaves every second, if anything was traded."""
        if self.names.ticker in wanted:
            report = self.ticker.report(self.info.symbol, event_ms, *self.book.best())
            if report is not None:
                yield Message(self.names.ticker, encode(report))


def _book_ticker(symbol: str, book: Book, bid: Level, ask: Level) -> BookTicker:
    return BookTicker(
        update_id=book.last_update_id,
        symbol=symbol,
        bid_price=to_text(bid[0]),
        bid_quantity=to_text(bid[1]),
        ask_price=to_text(ask[0]),
        ask_quantity=to_text(ask[1]),
    )


def _same(content: DepthUpdate | DepthSnapshot, names: Iterable[str], wanted: Container[str]) -> Iterator[Message]:
    listened = [name for name in names if name in wanted]
    if listened:
        payload = encode(content)
        for name in listened:
            yield Message(name, payload)


def _partial(book: Book, named: Iterable[tuple[int, tuple[str, ...]]], wanted: Container[str]) -> Iterator[Message]:
    for levels, names in named:
        if any(name in wanted for name in names):
            yield from _same(DepthSnapshot.of(book.depth(levels)), names, wanted)
