from hypothesis import given
from hypothesis import strategies as st

from producer.exchange.book import Book, Side

levels = st.lists(
    st.tuples(st.sampled_from(Side), st.integers(min_value=1, max_value=30), st.integers(min_value=0, max_value=5)),
    max_size=80,
)


@given(levels, st.integers(min_value=0, max_value=40))
def test_a_book_equals_two_sorted_dictionaries(changes: list[tuple[Side, int, int]], limit: int) -> None:
    book = Book()
    plain: dict[Side, dict[int, int]] = {Side.BID: {}, Side.ASK: {}}
    for side, price, quantity in changes:
        book.put(side, price, quantity)
        if quantity:
            plain[side][price] = quantity
        else:
            plain[side].pop(price, None)
        bids = sorted(plain[Side.BID].items(), reverse=True)
        asks = sorted(plain[Side.ASK].items())
        depth = book.depth(limit)
        assert (depth.bids, depth.asks) == (bids[:limit], asks[:limit])
        assert book.best() == (bids[0] if bids else None, asks[0] if asks else None)
        assert (list(book.bids), list(book.asks)) == (bids, asks)
        assert book.side(side).quantity(price) == quantity


@given(levels)
def test_a_book_built_from_its_own_depth_is_the_same_book(changes: list[tuple[Side, int, int]]) -> None:
    book = Book(last_update_id=42)
    for side, price, quantity in changes:
        book.put(side, price, quantity)
    assert Book.from_depth(book.depth(100)).depth(100) == book.depth(100)


def test_removing_a_level_that_is_not_there_changes_nothing() -> None:
    book = Book()
    book.put(Side.BID, 100, 5)
    book.put(Side.BID, 99, 0)
    assert list(book.bids) == [(100, 5)]
