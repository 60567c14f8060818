import random
from statistics import median

import pytest

from producer.exchange.book import Book, Side
from producer.exchange.order_flow import LEVELS, Change, OrderFlow
from producer.exchange.symbols import listing


def flow_of(symbol: str, seed: int = 1) -> OrderFlow:
    return OrderFlow(listing(symbol), random.Random(seed), trades_per_sec=100.0)


def actions(flow: OrderFlow, book: Book, count: int) -> list[list[Change]]:
    """Run some actions against the book and return what each did."""
    done: list[list[Change]] = []
    for _ in range(count):
        flow.next_wait()
        changes = flow.act(book)
        for change in changes:
            book.put(change.side, change.price, change.quantity)
        done.append(changes)
    return done


@pytest.mark.parametrize("symbol", ["BTCUSDT", "DOGEUSDT"])
def test_the_book_opens_with_all_levels_and_deeper_ones_are_larger(symbol: str) -> None:
    book = flow_of(symbol).open_book(last_update_id=5)
    assert (len(book.bids), len(book.asks), book.last_update_id) == (LEVELS, LEVELS, 5)
    for side in (book.bids, book.asks):
        quantities = [quantity for _, quantity in side]
        assert median(quantities[-100:]) > 1.5 * median(quantities[:20])


def test_a_market_order_uses_a_level_up_before_it_goes_on_to_the_next() -> None:
    flow = flow_of("BTCUSDT")
    swept = 0
    for changes in actions(flow, flow.open_book(1), 3000):
        if any(change.traded for change in changes):
            assert all(change.traded and not change.quantity for change in changes[:-1])
            assert changes[-1].traded
            assert len({change.side for change in changes}) == 1
            swept += len(changes) > 1
    assert swept > 20


def test_orders_are_placed_taken_back_and_traded_on_both_sides() -> None:
    flow = flow_of("ETHUSDT")
    changes = [change for action in actions(flow, flow.open_book(1), 3000) for change in action]
    for side in Side:
        of_side = [change for change in changes if change.side is side]
        assert sum(bool(change.traded) for change in of_side) > 100
        assert sum(not change.traded and not change.quantity for change in of_side) > 100
        assert sum(not change.traded and bool(change.quantity) for change in of_side) > 300
