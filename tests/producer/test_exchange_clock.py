"""The exchange's time between its messages."""

from hypothesis import given
from hypothesis import strategies as st

from producer.exchange_clock import ExchangeClock

MS = 1_000_000
NOON = 1_723_161_255_000 * MS


def test_time_goes_on_from_the_newest_event() -> None:
    clock = ExchangeClock()
    clock.observe(NOON, monotonic=500)
    assert clock.now(500) == NOON
    assert clock.now(500 + 30 * MS) == NOON + 30 * MS


def test_an_older_event_that_comes_late_changes_nothing() -> None:
    clock = ExchangeClock()
    clock.observe(NOON, monotonic=0)
    clock.observe(NOON - 5 * MS, monotonic=10 * MS)
    assert clock.now(10 * MS) == NOON + 10 * MS


def test_it_is_not_known_before_the_first_event() -> None:
    clock = ExchangeClock()
    assert not clock.known
    clock.observe(NOON, monotonic=0)
    assert clock.known


def test_an_assumed_time_gives_way_to_the_first_event_even_backwards() -> None:
    clock = ExchangeClock()
    clock.assume(NOON + 3_600_000 * MS, monotonic=0)
    assert clock.now(0) == NOON + 3_600_000 * MS
    clock.observe(NOON, monotonic=1 * MS)
    assert clock.now(1 * MS) == NOON


def test_nothing_is_assumed_once_an_event_was_seen() -> None:
    clock = ExchangeClock()
    clock.observe(NOON, monotonic=0)
    clock.assume(NOON + 3_600_000 * MS, monotonic=0)
    assert clock.now(0) == NOON


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500), st.booleans()), max_size=40))
def test_it_never_runs_backwards_and_never_behind_an_event(moves: list[tuple[int, int, bool]]) -> None:
    clock = ExchangeClock()
    clock.observe(NOON, monotonic=0)
    monotonic, before, newest = 0, 0, NOON
    for passed, offset, is_event in moves:
        monotonic += passed * MS
        if is_event:
            newest = max(newest, NOON + offset * MS)
            clock.observe(NOON + offset * MS, monotonic)
        now = clock.now(monotonic)
        assert now >= max(before, newest)
        before = now
