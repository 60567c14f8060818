"""The comparison of the rebuilt book with the exchange's own best bid and ask."""

from hypothesis import given
from hypothesis import strategies as st

from producer.begun_again import IN_A_ROW
from producer.book_truth import MISMATCH_LIMIT, PAUSE, Best, BookTruth

A: Best = (99, 1, 101, 1)
B: Best = (98, 1, 101, 1)


def told(best: Best) -> Best:
    return best


def test_a_ticker_that_cannot_be_read_is_none() -> None:
    truth: BookTruth[Best | None] = BookTruth(lambda best: best)
    truth.on_ticker(10, None, 0.0)
    truth.on_book(10, A)
    assert truth.compared == 0
    truth.on_ticker(11, A, 0.0)
    truth.on_book(11, A)
    assert (truth.compared, truth.equal) == (1, 1)


def test_what_held_at_a_diff_is_the_newest_ticker_up_to_its_id() -> None:
    truth = BookTruth(told)
    truth.on_ticker(10, A, 0.0)
    truth.on_book(14, A)
    assert truth.compared == 0, "a ticker up to 14 may still come"
    truth.on_ticker(15, B, 0.0)
    assert (truth.compared, truth.equal) == (1, 1)
    truth.on_book(16, A)
    truth.on_ticker(17, A, 0.0)
    assert (truth.compared, truth.equal) == (2, 1)


def test_a_ticker_of_the_same_id_is_compared_at_once_whichever_comes_first() -> None:
    truth = BookTruth(told)
    truth.on_ticker(10, A, 0.0)
    truth.on_book(10, A)
    assert truth.equal == 1
    truth.on_book(12, B)
    truth.on_ticker(12, B, 0.0)
    assert truth.equal == 2


def test_nothing_is_compared_where_no_ticker_is_known() -> None:
    truth = BookTruth(told)
    truth.on_book(10, A)
    truth.on_ticker(11, B, 0.0)
    assert truth.compared == 0
    truth.on_book(11, B)
    truth.forget_all()
    truth.on_book(12, A)
    truth.on_ticker(13, B, 0.0)
    assert truth.compared == 1


def test_tickers_that_come_late_or_twice_say_nothing() -> None:
    truth = BookTruth(told)
    truth.on_ticker(10, A, 0.0)
    truth.on_ticker(9, B, 0.0)
    truth.on_ticker(10, B, 0.0)
    truth.on_book(10, A)
    assert truth.equal == 1


def test_update_ids_that_begin_again_are_compared_again() -> None:
    truth = BookTruth(told)
    truth.on_ticker(10**9, A, 0.0)
    truth.on_book(10**9, A)
    begun_again = [truth.on_ticker(number, B, 0.0) for number in range(1, 101)]
    assert begun_again.index(True) == IN_A_ROW - 1
    assert begun_again.count(True) == 1
    assert truth.compared == 1
    for number in range(101, 101 + MISMATCH_LIMIT):
        truth.on_ticker(number, A, 0.0)
        truth.on_book(number, B)
    assert (truth.compared, truth.equal) == (1 + MISMATCH_LIMIT, 1)
    assert truth.wrong, "a wrong book is found under the new count"


def test_a_few_differences_in_a_row_are_needed() -> None:
    truth = BookTruth(told)
    truth.on_ticker(1, A, 0.0)
    for number in range(1, 3 * MISMATCH_LIMIT):
        truth.on_ticker(number, A, 0.0)
        truth.on_book(number, A if number % MISMATCH_LIMIT == 0 else B)
        assert not truth.wrong
    for number in range(100, 100 + MISMATCH_LIMIT):
        truth.on_ticker(number, A, 0.0)
        truth.on_book(number, B)
    assert truth.wrong
    truth.forget_book()
    assert not truth.wrong


def test_a_book_that_stands_still_while_tickers_go_on_is_behind() -> None:
    truth = BookTruth(told)
    truth.on_ticker(10, A, 1.0)
    assert truth.behind == 0.0, "no book, nothing behind"
    truth.on_book(12, A)
    truth.on_ticker(12, A, 2.0)
    assert truth.behind == 0.0
    for number in range(4):
        truth.on_ticker(13 + number, A, 3.0 + number * 0.25)
    assert truth.behind == 0.75
    truth.on_book(16, A)
    assert truth.behind == 0.0


def test_a_pause_of_our_own_does_not_make_a_book_look_behind() -> None:
    truth = BookTruth(told)
    truth.on_book(12, A)
    truth.on_ticker(13, A, 3.0)
    truth.on_ticker(14, A, 60.0)
    assert truth.behind == PAUSE


@given(
    st.lists(st.tuples(st.integers(1, 3), st.booleans()), min_size=1, max_size=60),
    st.lists(st.integers(0, 4), min_size=60, max_size=60),
)
def test_a_true_book_is_never_found_different_however_the_two_streams_lag(
    updates: list[tuple[int, bool]], lags: list[int]
) -> None:
    """A ticker leaves at each change of the best, a diff every few updates, each stream in its own order."""
    best: Best = A
    tickers: list[tuple[int, Best]] = [(0, A)]
    books: list[tuple[int, Best]] = []
    for update_id, (price, ends_a_diff) in enumerate(updates, start=1):
        if best != (now := (price, 1, 101, 1)):
            best = now
            tickers.append((update_id, best))
        if ends_a_diff:
            books.append((update_id, best))
    truth = BookTruth(told)
    for lag in lags:
        for _ in range(lag):
            if tickers:
                truth.on_ticker(*tickers.pop(0), 0.0)
        if books:
            truth.on_book(*books.pop(0))
    assert truth.compared == truth.equal
