from hypothesis import given
from hypothesis import strategies as st

from app.microstructure.book import MAX_LEVELS, OrderBook
from app.microstructure.events import DeltasPayload, DepthPayload, Event, OrderBookDeltas
from support.markets import streams

BIDS = [(99.0, 1.0), (98.0, 2.0)]
ASKS = [(101.0, 3.0), (102.0, 4.0)]


def book_at(update_id: int = 10) -> OrderBook:
    book = OrderBook()
    book.apply_deltas(DeltasPayload(update_id, update_id, True, BIDS, ASKS), 0)
    return book


def delta(first: int, final: int, bids: object = (), asks: object = ()) -> DeltasPayload:
    return DeltasPayload(first, final, False, list(bids), list(asks))  # type: ignore[call-overload]


def test_before_the_first_snapshot_nothing_is_known() -> None:
    book = OrderBook()
    book.apply_deltas(delta(1, 2, [(99.0, 1.0)]), 0)
    assert book.top(20) == ((), ())
    assert book.update_id is None
    assert not book.ok


def test_a_snapshot_is_the_book_best_first() -> None:
    book = book_at()
    assert book.ok
    assert book.top(20) == (tuple(BIDS), tuple(ASKS))
    assert book.top(1) == ((BIDS[0],), (ASKS[0],))


def test_deltas_set_and_remove_levels() -> None:
    book = book_at()
    book.apply_deltas(delta(11, 12, [(99.0, 0.0), (98.5, 7.0)], [(101.0, 9.0)]), 0)
    assert book.top(20) == (((98.5, 7.0), (98.0, 2.0)), ((101.0, 9.0), (102.0, 4.0)))
    assert book.update_id == 12


def test_removing_a_level_that_is_not_there_is_harmless() -> None:
    book = book_at()
    book.apply_deltas(delta(11, 11, [(50.0, 0.0)]), 0)
    assert book.top(20) == (tuple(BIDS), tuple(ASKS))


def test_a_duplicate_delta_is_ignored() -> None:
    book = book_at()
    book.apply_deltas(delta(11, 12, [(99.0, 5.0)]), 0)
    book.apply_deltas(delta(11, 12, [(99.0, 6.0)]), 0)
    assert book.top(1)[0] == ((99.0, 5.0),)
    assert book.gap_count == 0


def test_a_delta_that_overlaps_what_is_known_is_applied() -> None:
    book = book_at()
    book.apply_deltas(delta(5, 11, [(99.0, 5.0)]), 0)
    assert book.ok
    assert book.top(1)[0] == ((99.0, 5.0),)


def test_a_gap_makes_the_book_unknown_until_the_next_snapshot() -> None:
    book = book_at()
    book.apply_deltas(delta(12, 13, [(99.0, 5.0)]), 0)
    assert (book.ok, book.gap_count, book.top(20)) == (False, 1, ((), ()))
    book.apply_deltas(delta(14, 15, [(99.0, 5.0)]), 0)
    assert (book.ok, book.gap_count, book.update_id) == (False, 1, None)
    book.apply_deltas(DeltasPayload(20, 20, True, BIDS, ASKS), 0)
    assert (book.ok, book.gap_count, book.update_id) == (True, 1, 20)


def test_an_empty_snapshot_says_that_the_producer_lost_the_book() -> None:
    book = book_at()
    book.apply_deltas(DeltasPayload(11, 11, True, [], []), 0)
    assert (book.ok, book.gap_count, book.top(20)) == (False, 1, ((), ()))


def test_a_crossed_or_locked_book_is_never_shown() -> None:
    for price in (101.0, 101.5):
        book = book_at()
        book.apply_deltas(delta(11, 11, [(price, 1.0)]), 0)
        assert (book.ok, book.gap_count, book.crossed_count) == (False, 1, 1)
        assert book.top(20) == ((), ())


def test_the_venues_own_top_replaces_the_visible_region_and_leaves_the_rest() -> None:
    book = OrderBook()
    deep_bids = [(100.0 - n, 1.0) for n in range(40)]
    book.apply_deltas(DeltasPayload(10, 10, True, deep_bids, ASKS), 0)
    top_bids = [(100.0 - n / 2, 5.0) for n in range(20)]
    book.apply_depth(DepthPayload(12, top_bids, [(101.5, 1.0)]), 0)
    bids, asks = book.top(MAX_LEVELS)
    assert bids[:20] == tuple(top_bids)
    assert bids[20:] == tuple(level for level in deep_bids if level[0] < 90.5)
    assert asks == ((101.5, 1.0),)
    assert book.update_id == 12


def test_a_delta_older_than_the_venues_top_touches_only_what_lies_beyond_it() -> None:
    book = book_at()
    top = [(99.0 - n / 10, 1.0) for n in range(20)]
    book.apply_depth(DepthPayload(15, top, [(100.0 + n, 1.0) for n in range(20)]), 0)
    book.apply_deltas(delta(11, 14, [(99.0, 7.0), (95.0, 7.0)]), 0)
    bids, _ = book.top(MAX_LEVELS)
    assert bids[0] == (99.0, 1.0)
    assert (95.0, 7.0) in bids
    book.apply_deltas(delta(15, 16, [(99.0, 8.0)]), 0)
    assert book.top(1)[0] == ((99.0, 8.0),)


def test_an_older_top_is_ignored() -> None:
    book = book_at()
    book.apply_depth(DepthPayload(9, [(90.0, 1.0)], [(110.0, 1.0)]), 0)
    assert book.top(20) == (tuple(BIDS), tuple(ASKS))


def test_while_deltas_are_out_of_sequence_the_venues_top_alone_is_the_book() -> None:
    book = book_at()
    book.apply_deltas(delta(12, 13), 0)
    book.apply_depth(DepthPayload(12, BIDS, ASKS), 0)
    assert book.top(20) == ((), ()), "it is older than the gap"
    book.apply_depth(DepthPayload(14, [(99.5, 1.0)], ASKS), 0)
    assert book.top(1)[0] == ((99.5, 1.0),)
    assert not book.ok
    book.apply_deltas(delta(14, 14, [(99.0, 9.0)]), 0)
    assert book.top(1)[0] == ((99.5, 1.0),), "the delta is not newer"
    book.apply_deltas(delta(15, 16, [(99.0, 9.0)]), 0)
    assert book.top(20) == ((), ()), "now it is out of date"


def test_only_the_best_levels_are_kept() -> None:
    book = OrderBook()
    bids = [(float(price), 1.0) for price in range(1, 2 * MAX_LEVELS)]
    book.apply_deltas(DeltasPayload(1, 1, True, bids, []), 0)
    kept, _ = book.top(5 * MAX_LEVELS)
    assert kept == tuple(reversed(bids))[:MAX_LEVELS]


class PlainBook:
    """The obvious book: two dictionaries, sorted when asked."""

    def __init__(self) -> None:
        self.bids: dict[float, float] = {}
        self.asks: dict[float, float] = {}

    def apply(self, payload: DeltasPayload) -> None:
        if payload.snapshot:
            self.bids, self.asks = {}, {}
        for side, levels in ((self.bids, payload.bids), (self.asks, payload.asks)):
            side.update(levels)
            for price in [price for price, qty in side.items() if qty == 0]:
                del side[price]

    def top(self, count: int) -> tuple[object, object]:
        bids = sorted(self.bids.items(), reverse=True)[:count]
        return tuple(bids), tuple(sorted(self.asks.items())[:count])


@given(streams())
def test_the_book_equals_the_obvious_one_after_every_event(events: list[Event]) -> None:
    book, plain = OrderBook(), PlainBook()
    for event in events:
        if isinstance(event, OrderBookDeltas):
            if event.payload.snapshot and not (event.payload.bids or event.payload.asks):
                continue
            book.apply_deltas(event.payload, 0)
            plain.apply(event.payload)
            if book.ok:
                assert book.top(20) == plain.top(20)


@given(streams(), st.data())
def test_a_restored_book_goes_on_as_if_nothing_had_happened(events: list[Event], data: st.DataObject) -> None:
    payloads = [event.payload for event in events if isinstance(event, OrderBookDeltas)]
    cut = data.draw(st.integers(0, len(payloads)))
    book = OrderBook()
    for payload in payloads[:cut]:
        book.apply_deltas(payload, 0)
    restored = OrderBook.restore(book.snapshot())
    for payload in payloads[cut:]:
        book.apply_deltas(payload, 0)
        restored.apply_deltas(payload, 0)
    assert restored.snapshot() == book.snapshot()


@given(streams())
def test_the_changes_that_a_book_tells_of_rebuild_it(events: list[Event]) -> None:
    book, sides = OrderBook(), ({}, {})  # type: tuple[OrderBook, tuple[dict[float, float], dict[float, float]]]
    for event in events:
        if not isinstance(event, OrderBookDeltas):
            continue
        change = book.apply_deltas(event.payload, 0)
        if change is None:
            continue
        for side, changes in zip(sides, (change.bids, change.asks), strict=True):
            if change.restarted or not change.known:
                side.clear()
            for price, before, after in changes:
                assert side.pop(price, 0.0) == before
                if after:
                    side[price] = after
        bids, asks = book.top(MAX_LEVELS)
        assert (dict(bids), dict(asks)) == sides
        assert (change.best_bid, change.best_ask) == (bids[0][0] if bids else None, asks[0][0] if asks else None)
