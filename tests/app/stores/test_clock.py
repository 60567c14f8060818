"""Dating reports by the store's clock."""

from hypothesis import given
from hypothesis import strategies as st

from app.stores.clock import StoreClock

MS = 10**6
HOUR = 3600 * 10**9
NOON = 1_800_000_000 * 10**9


class Host:
    """A host on which time passes, whose wall clock is off by as much as is wished."""

    def __init__(self) -> None:
        self.monotonic = 5 * 10**9
        self.off = 0
        self.clock = StoreClock(lambda: self.monotonic, lambda: NOON + self.monotonic + self.off)

    def ask(self, there_ns: int = 0, back_ns: int = 0, store_off: int = 0) -> None:
        """Ask the store, whose clock is right but for `store_off`."""
        asked = self.clock.asking()
        self.monotonic += there_ns
        store_ms = (NOON + self.monotonic + store_off) // MS
        self.monotonic += back_ns
        self.clock.saw(store_ms, asked)


def test_until_the_store_says_its_time_the_hosts_counts() -> None:
    host = Host()
    host.off = HOUR
    assert host.clock.now_ns() == NOON + host.monotonic + HOUR


def test_a_host_whose_clock_leaps_goes_on_by_the_stores() -> None:
    host = Host()
    host.ask()
    host.off = HOUR
    host.monotonic += 10 * MS
    assert abs(host.clock.now_ns() - (NOON + host.monotonic)) <= MS
    assert abs(host.clock.host_ahead_sec() - 3600) < 0.01


def test_a_store_whose_clock_leaps_is_followed_at_once() -> None:
    host = Host()
    host.ask()
    host.ask(store_off=HOUR)
    assert abs(host.clock.now_ns() - (NOON + host.monotonic + HOUR)) <= MS


@given(st.lists(st.tuples(st.integers(0, 300 * MS), st.integers(0, 300 * MS)), min_size=1))
def test_it_is_off_by_no_more_than_half_of_the_fastest_answer_whatever_the_others_take(
    answers: list[tuple[int, int]],
) -> None:
    host, fastest = Host(), HOUR
    for there, back in answers:
        host.ask(there, back)
        fastest = min(fastest, there + back)
        assert abs(host.clock.now_ns() - (NOON + host.monotonic)) <= fastest + MS


@given(st.lists(st.tuples(st.integers(0, 300 * MS), st.integers(0, 300 * MS)), min_size=2))
def test_slow_answers_do_not_move_it(answers: list[tuple[int, int]]) -> None:
    host = Host()
    host.ask()
    before = host.clock.now_ns() - host.monotonic
    for there, back in answers:
        host.ask(there, back)
        assert abs(host.clock.now_ns() - host.monotonic - before) <= MS
