"""When numbers of the exchange have begun again, and when some were only late."""

from hypothesis import given
from hypothesis import strategies as st

from producer.begun_again import IN_A_ROW, BegunAgain


def test_low_numbers_that_go_on_rising_are_a_new_count() -> None:
    low = BegunAgain()
    assert [low.note(number, 10**9) for number in range(IN_A_ROW)] == [False] * (IN_A_ROW - 1) + [True]


@given(st.lists(st.integers(1, IN_A_ROW - 1), max_size=8))
def test_late_numbers_between_high_ones_are_no_new_count(rows: list[int]) -> None:
    low, highest = BegunAgain(), 1000
    for row in rows:
        highest += row
        assert not any(low.note(highest - row + number, highest) for number in range(row))


def test_low_numbers_in_disorder_are_no_new_count() -> None:
    low = BegunAgain()
    assert not any(low.note(number, 1000) for number in range(999, 0, -1))
