"""Who gets a place when places run out."""

from hypothesis import given
from hypothesis import strategies as st

from producer.admission import Admission
from producer.wire import Kind

BTC, ETH = "BTCUSDT", "ETHUSDT"


def test_everything_is_admitted_while_there_is_room() -> None:
    admission = Admission(limit=10)
    assert all(admission.admits(BTC, kind, waiting=9) for kind in Kind)


def test_after_a_diff_was_turned_away_diffs_wait_for_a_snapshot() -> None:
    admission = Admission(limit=10)
    assert not admission.admits(BTC, Kind.DIFF, waiting=10)
    assert not admission.admits(BTC, Kind.DIFF, waiting=0)
    assert not admission.admits(BTC, Kind.DEPTH, waiting=0), "it would only fill the queue again"
    assert admission.admits(BTC, Kind.TRADE, waiting=0)
    assert admission.admits(ETH, Kind.DIFF, waiting=0)
    assert admission.admits(BTC, Kind.SNAPSHOT, waiting=0)
    assert admission.admits(BTC, Kind.DIFF, waiting=0)


def test_a_trade_turned_away_costs_no_book() -> None:
    admission = Admission(limit=10)
    assert not admission.admits(BTC, Kind.TRADE, waiting=10)
    assert admission.admits(BTC, Kind.DIFF, waiting=9)
    assert admission.recovered(waiting=0) == set()


def test_a_lost_book_is_named_once_when_half_of_the_places_are_free() -> None:
    admission = Admission(limit=10)
    admission.admits(BTC, Kind.DIFF, waiting=10)
    assert admission.recovered(waiting=6) == set()
    assert admission.recovered(waiting=5) == {BTC}
    assert admission.recovered(waiting=0) == set()


def test_a_book_whose_snapshot_was_turned_away_is_named_again() -> None:
    admission = Admission(limit=10)
    admission.admits(BTC, Kind.DIFF, waiting=10)
    assert admission.recovered(waiting=0) == {BTC}
    assert not admission.admits(BTC, Kind.SNAPSHOT, waiting=10)
    assert admission.recovered(waiting=0) == {BTC}


@given(st.lists(st.tuples(st.sampled_from([BTC, ETH]), st.sampled_from(Kind), st.integers(0, 3)), max_size=60))
def test_no_diff_is_ever_admitted_behind_one_that_was_not(events: list[tuple[str, Kind, int]]) -> None:
    admission = Admission(limit=3)
    broken: set[str] = set()
    for symbol, kind, waiting in events:
        admitted = admission.admits(symbol, kind, waiting)
        if kind is Kind.SNAPSHOT and admitted:
            broken.discard(symbol)
        elif kind is Kind.DIFF:
            assert not (admitted and symbol in broken)
        if kind in (Kind.DIFF, Kind.SNAPSHOT) and not admitted:
            broken.add(symbol)
    assert admission.recovered(waiting=0) <= broken
