"""When a snapshot is asked for."""

from producer.exchange.messages import DepthSnapshot, DepthUpdate
from producer.record.book import RecordedBook


def diff(first: int, final: int) -> DepthUpdate:
    return DepthUpdate(event_time=1, symbol="BTCUSDT", first_update_id=first, final_update_id=final, bids=[], asks=[])


def snapshot(last: int, *, empty: bool = False) -> DepthSnapshot:
    return DepthSnapshot(last_update_id=last, bids=[] if empty else [("1", "1")], asks=[])


def test_the_first_diff_asks_for_a_snapshot_and_one_that_fits_ends_it() -> None:
    book = RecordedBook()
    assert book.on_diff(diff(1, 5))
    assert not book.on_diff(diff(6, 8))
    assert not book.known
    assert not book.on_snapshot(snapshot(6))
    assert book.known
    assert (book.snapshots, book.gaps) == (1, 0)


def test_a_snapshot_older_than_the_first_diff_is_asked_for_again() -> None:
    book = RecordedBook()
    book.on_diff(diff(10, 12))
    assert book.on_snapshot(snapshot(8))
    assert not book.on_snapshot(snapshot(9))


def test_an_empty_snapshot_is_none() -> None:
    book = RecordedBook()
    book.on_diff(diff(10, 12))
    assert book.on_snapshot(snapshot(12, empty=True))
    assert not book.known


def test_a_gap_asks_for_another() -> None:
    book = RecordedBook()
    book.on_diff(diff(1, 5))
    book.on_snapshot(snapshot(5))
    assert book.on_diff(diff(8, 9))
    assert (book.known, book.gaps) == (False, 1)
    assert not book.on_snapshot(snapshot(9))
    assert book.known


def test_after_a_lost_connection_the_next_diff_asks_although_it_may_continue_the_book() -> None:
    book = RecordedBook()
    book.on_diff(diff(1, 5))
    book.on_snapshot(snapshot(5))
    book.begin_anew()
    assert not book.known
    assert book.on_diff(diff(6, 7))
    assert book.gaps == 0
