"""What spoofing is, how grave, for how long it is told, and what a book's restart does to it."""

import pytest

from app.microstructure.metrics.spoofing import Spoofing, SpoofingParams
from app.microstructure.report import Anomaly
from support.book_feed import BookFeed
from support.markets import SECOND
from support.spoofing import DEFAULTS, FIVE_ASKS, FIVE_BIDS, LARGE, MS, show, watched


def test_large_orders_shown_and_taken_back_on_one_side_are_spoofing() -> None:
    feed, detector = watched()
    show(feed, FIVE_BIDS)
    note = "bid: 5 large orders placed 12-30 bps from mid, 100 % cancelled within 10 s (18 x the large size)"
    assert detector.value(feed.now) == (Anomaly("spoofing", "low", note),)


def test_spoofing_is_found_on_the_ask_side_too() -> None:
    feed, detector = watched()
    show(feed, asks=FIVE_ASKS)
    assert [found.note[:6] for found in detector.value(feed.now)] == ["ask: 5"]


@pytest.mark.parametrize("nearest", [2.5, 8, 30, 45])
def test_spoofing_is_found_near_and_far(nearest: float) -> None:
    feed, detector = watched()
    show(feed, [(round(100 - (nearest + n) / 100, 3), 6.0 + n / 2) for n in range(5)])
    assert detector.value(feed.now)


def test_orders_shown_one_after_the_other_are_spoofing() -> None:
    feed, detector = watched()
    for price, qty in FIVE_BIDS:
        show(feed, [(price, qty)], seconds=1.0)
    assert detector.value(feed.now)


@pytest.mark.parametrize(
    ("scale", "severity"), [(1.0, "low"), (2.0, "medium"), (5.0, "high")], ids=["18 x", "35 x", "88 x"]
)
def test_severity_rises_with_size(scale: float, severity: str) -> None:
    feed, detector = watched()
    show(feed, [(price, qty * scale) for price, qty in FIVE_BIDS])
    assert [found.severity for found in detector.value(feed.now)] == [severity]


def test_huge_orders_are_medium_while_some_of_them_stay() -> None:
    feed, detector = watched()
    staying = [(99.60, 90.0)]
    feed.set(staying)
    show(feed, [(price, qty * 10) for price, qty in FIVE_BIDS])
    assert [found.severity for found in detector.value(feed.now)] == ["medium"]


@pytest.mark.parametrize(("taken_back", "found"), [(8, False), (9, True)])
def test_three_quarters_are_enough(taken_back: int, found: bool) -> None:
    feed, detector = watched()
    orders = [(round(99.85 - n / 100, 2), 6.0) for n in range(12)]
    feed.set(orders)
    feed.later(2).set([(price, 0.0) for price, _ in orders[:taken_back]])
    assert bool(detector.value(feed.now + SECOND)) is found


def test_a_cancel_counts_once_it_is_clear_that_the_quote_did_not_move() -> None:
    feed, detector = watched()
    show(feed, FIVE_BIDS, settle=0.5)
    cancelled = feed.now - 500 * MS
    assert detector.value(cancelled + 1000 * MS - 1) == ()
    assert detector.value(cancelled + 1000 * MS) != ()


def test_a_finding_stays_for_its_time() -> None:
    feed, detector = watched()
    show(feed, FIVE_BIDS)
    found = feed.now
    assert detector.value(found + DEFAULTS.hold_sec * SECOND - 1) != ()
    assert detector.value(found + DEFAULTS.hold_sec * SECOND) == ()


def test_a_finding_is_not_prolonged_by_a_quote_that_moves() -> None:
    feed, detector = watched()
    feed.set([(99.65, 5.5)])
    show(feed, FIVE_BIDS)
    found = feed.now
    feed.later(2).set([(99.65, 0.0), (99.64, 5.5)])
    feed.later(2).set()
    assert detector.value(found + DEFAULTS.hold_sec * SECOND - 1) != ()
    assert detector.value(found + DEFAULTS.hold_sec * SECOND) == ()
    assert detector.snapshot().dues == []


@pytest.mark.parametrize(("orders", "found"), [(3, False), (4, True)])
def test_three_orders_are_too_few(orders: int, found: bool) -> None:
    feed, detector = watched()
    show(feed, FIVE_BIDS[:orders])
    assert bool(detector.value(feed.now)) is found


@pytest.mark.parametrize(("size", "found"), [(3.9, False), (10.6, False), (4.1, True), (10.4, True)])
def test_orders_are_alike_up_to_a_ratio_of_their_sizes(size: float, found: bool) -> None:
    feed, detector = watched()
    show(feed, [*FIVE_BIDS[:3], (99.75, size)])
    assert bool(detector.value(feed.now)) is found


def test_smaller_orders_that_stay_hide_no_spoofing() -> None:
    feed, detector = watched()
    feed.set([(round(99.65 - n / 100, 2), 3.0 + n / 10) for n in range(8)])
    show(feed, FIVE_BIDS)
    assert [found.note[:6] for found in detector.value(feed.now)] == ["bid: 5"]


def test_what_was_not_conspicuous_when_it_was_placed_is_not_when_the_book_thins() -> None:
    large = [LARGE]
    feed, detector = BookFeed(), Spoofing(lambda: large[0])
    feed.listen(detector.update)
    feed.later(61).set([(price, qty / 2) for price, qty in FIVE_BIDS])
    large[0] = LARGE / 10
    feed.later(3).set([(price, 0.0) for price, _ in FIVE_BIDS])
    feed.later(1).set()
    assert detector.value(feed.now) == ()


def test_nothing_is_said_before_the_sizes_are_known() -> None:
    feed, detector = watched(seconds=10)
    show(feed, FIVE_BIDS)
    assert detector.value(feed.now) == ()


def test_nothing_is_large_while_the_large_size_is_not_known() -> None:
    feed, detector = BookFeed(), Spoofing(lambda: None)
    feed.listen(detector.update)
    feed.later(61)
    show(feed, FIVE_BIDS)
    assert detector.value(feed.now) == ()


def test_a_book_that_restarts_shows_no_orders_and_no_cancels() -> None:
    feed, detector = watched()
    feed.set(FIVE_BIDS[:4])
    feed.later(1).restart(bids=FIVE_BIDS)
    feed.later(61).set()
    feed.set([(price, 0.0) for price, _ in FIVE_BIDS])
    feed.later(2).set()
    feed.lose()
    feed.later(1).restart()
    feed.later(62).set()
    assert detector.value(feed.now) == ()


@pytest.mark.parametrize("lost", [False, True], ids=["replaced", "given up"])
def test_nothing_is_remembered_of_a_book_that_is_no_more(lost: bool) -> None:
    feed, detector = watched()
    show(feed, FIVE_BIDS[:4], FIVE_ASKS[:4], settle=0.5)
    if lost:
        feed.lose()
    else:
        feed.restart()
    state = detector.snapshot()
    assert not any(side.orders or side.displaced or side.sizes for side in state.orders)
    assert state.dues == []


def test_a_finding_outlives_the_book() -> None:
    feed, detector = watched()
    show(feed, FIVE_BIDS)
    feed.lose()
    assert detector.value(feed.now) != ()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"lifetime_sec": 31}, "lifetime_sec 31 is not allowed: at most window_sec, 30"),
        ({"cancel_rate": 0.6}, "cancel_rate 0.6 is not allowed: at least 0.7"),
        ({"explain_ms": 1000}, "explain_ms 1000 is not allowed: less than requote_ms, 1000"),
    ],
)
def test_parameters_that_contradict_each_other_are_refused(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SpoofingParams(**wrong)  # type: ignore[arg-type]
