"""The replay of real messages of Binance, checked against what Binance itself said of its book."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from producer.exchange.book import Book, Side
from producer.exchange.market import Market
from producer.exchange.messages import BookTicker, DepthUpdate, Trade
from producer.exchange.tape import levels_of
from producer.exchange.units import to_units

NS = 1_000_000_000
MS = 1_000_000
NOW_NS = 1_800_000_000 * NS
DIFFS = "btcusdt@depth@100ms"

OpenTape = Callable[..., Market]


def apply(book: Book, update: DepthUpdate) -> None:
    """Apply a diff unless the book contains it already."""
    if update.final_update_id <= book.last_update_id:
        return
    for side, levels in ((Side.BID, update.bids), (Side.ASK, update.asks)):
        for price, quantity in levels_of(levels):
            book.put(side, price, quantity)
    book.last_update_id = update.final_update_id


@pytest.mark.tape
def test_the_recorded_book_ticker_equals_the_rebuilt_book(recorded_tape: Path, open_tape: OpenTape) -> None:
    market = open_tape(recorded_tape, speed=100.0)
    book = Book.from_depth(market.depth("BTCUSDT", 5000))
    market.subscribed(NOW_NS)
    ahead: list[BookTicker] = []
    newest: BookTicker | None = None
    compared = wrong = same_id = 0
    for message in market.advance(NOW_NS + 4 * NS, {DIFFS, "btcusdt@bookTicker"}):
        if message.stream != DIFFS:
            ahead.append(msgspec.json.decode(message.payload, type=BookTicker))
            continue
        update = msgspec.json.decode(message.payload, type=DepthUpdate)
        apply(book, update)
        if book.last_update_id != update.final_update_id:
            continue
        # A ticker is sent whenever the best changes: at a diff's last id holds the newest one up to it.
        while ahead and ahead[0].update_id <= update.final_update_id:
            newest = ahead.pop(0)
        assert newest is not None
        bid = (to_units(newest.bid_price), to_units(newest.bid_quantity))
        ask = (to_units(newest.ask_price), to_units(newest.ask_quantity))
        compared += 1
        same_id += newest.update_id == update.final_update_id
        wrong += book.best() != (bid, ask)
    assert compared == 3449  # all diffs but the two that the snapshot contains
    assert same_id > 500
    assert wrong == 0


@pytest.mark.tape
def test_the_recorded_tape_loops_as_one_unbroken_market(recorded_tape: Path, open_tape: OpenTape) -> None:
    market = open_tape(recorded_tape, speed=200.0, loop=True)
    book = Book.from_depth(market.depth("BTCUSDT", 5000))
    market.subscribed(NOW_NS)
    following: dict[str, int] = {}
    for now_ns in range(NOW_NS, NOW_NS + 4 * NS, 10 * MS):
        for message in market.advance(now_ns, {DIFFS, "btcusdt@trade"}):
            if message.stream == DIFFS:
                update = msgspec.json.decode(message.payload, type=DepthUpdate)
                first, last = update.first_update_id, update.final_update_id
                apply(book, update)
            else:
                first = last = msgspec.json.decode(message.payload, type=Trade).trade_id
            assert following.setdefault(message.stream, first) == first
            following[message.stream] = last + 1
        assert book.depth(5000) == market.depth("BTCUSDT", 5000)
    assert book.last_update_id > 50_093_421_612 + 100_000  # well into a later pass
