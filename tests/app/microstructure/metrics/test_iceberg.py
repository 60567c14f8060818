"""What an iceberg is and what is an ordinary level, how grave, and for how long it is told."""

import msgspec
import pytest

from app.microstructure.metrics.iceberg import (
    MAX_FINDINGS,
    MAX_PRICES,
    Iceberg,
)
from app.microstructure.report import Anomaly
from support.book_feed import BookFeed
from support.icebergs import BID, fill, market
from support.markets import SECOND


def test_five_fills_of_a_level_that_hardly_moves_are_an_iceberg() -> None:
    feed, detector = market()
    for _fill in range(4):
        fill(feed)
        assert detector.value(feed.now) == ()
    fill(feed)
    note = "bid 99.99: 5 fills took 5 while 2 stayed visible (2.5 x)"
    assert detector.value(feed.now) == (Anomaly("iceberg", "low", note),)


def test_an_iceberg_is_found_on_the_ask_side_too() -> None:
    feed, detector = market()
    for _fill in range(5):
        feed.later(0.5).trade(100.01, 0.7, "buy")
        feed.later(0.1).set()
    assert [found.note[:10] for found in detector.value(feed.now)] == ["ask 100.01"]


def test_a_level_that_no_book_event_mentions_has_not_moved() -> None:
    feed, detector = market()
    for _fill in range(5):
        fill(feed, left=None)
    assert detector.value(feed.now)


@pytest.mark.parametrize(("left", "found"), [(1.8, True), (2.2, True), (1.79, False), (2.21, False)])
def test_ten_percent_belong_to_the_band(left: float, found: bool) -> None:
    feed, detector = market()
    for _fill in range(5):
        fill(feed, left=left)
    assert bool(detector.value(feed.now)) is found


def test_an_iceberg_is_found_through_short_dips() -> None:
    feed, detector = market()
    for left in (0.4, 2.1, 0.0, 1.9, 1.2):
        fill(feed, left=left)
        feed.later(0.2).set([(BID, 2.0)])
    assert detector.value(feed.now)


@pytest.mark.parametrize(("seconds", "found"), [(0.25, True), (0.251, False)])
def test_a_dip_is_short(seconds: float, found: bool) -> None:
    feed, detector = market()
    for _fill in range(5):
        fill(feed, left=0.5)
        feed.later(seconds).set([(BID, 2.0)])
    assert bool(detector.value(feed.now)) is found


def test_a_level_that_stays_short_is_an_ordinary_one() -> None:
    feed, detector = market()
    for _fill in range(10):
        fill(feed, left=1.0)
        feed.later(0.3).set([(BID, 2.0)])
    assert detector.value(feed.now) == ()


def test_a_level_that_grows_is_another_level() -> None:
    feed, detector = market()
    for size in (2.0, 2.5, 3.1, 3.8, 4.5, 5.5, 7.0):
        fill(feed, left=size)
    assert detector.value(feed.now) == ()


def test_a_level_that_grows_for_a_moment_is_another_level() -> None:
    feed, detector = market()
    for _fill in range(8):
        fill(feed, left=2.5)
        feed.later(0.1).set([(BID, 2.0)])
    assert detector.value(feed.now) == ()


def test_a_swept_level_is_no_iceberg() -> None:
    feed, detector = market()
    for _fill in range(6):
        feed.later(0.01).trade(BID, 0.5)
    feed.later(0.1).set([(BID, 0.0)])
    for _wait in range(5):
        feed.later(0.1).set()
    assert detector.value(feed.now) == ()


def test_small_trades_against_a_large_level_prove_nothing() -> None:
    feed, detector = market(tip=50.0)
    for _fill in range(100):
        fill(feed, qty=1.0, left=49.0)
    assert detector.value(feed.now) == ()


def test_what_trades_between_two_book_events_is_one_fill() -> None:
    feed, detector = market()
    for _fill in range(5):
        feed.later(0.3)
        for _part in range(4):
            feed.later(0.01).trade(BID, 0.1)
        feed.later(0.1).set()
    assert [found.note for found in detector.value(feed.now)] == [
        "bid 99.99: 5 fills took 2 while 2 stayed visible (1.0 x)"
    ]


def test_what_trades_until_a_short_level_is_back_is_one_fill() -> None:
    feed, detector = market()
    for _refresh in range(4):
        fill(feed, left=0.8)
        for qty in (0.6, 0.9):
            feed.trade(BID, qty)
            feed.later(0.1).set([(BID, 0.5)])
        feed.set([(BID, 2.0)])
    feed.later(0.1).set()
    assert detector.value(feed.now) == ()
    fill(feed)
    assert [found.note for found in detector.value(feed.now)] == [
        "bid 99.99: 5 fills took 11 while 2 stayed visible (5.5 x)"
    ]


def test_a_fill_counts_when_a_book_event_that_must_hold_it_confirms_it() -> None:
    feed, detector = market()
    for _fill in range(4):
        fill(feed)
    feed.later(0.4).trade(BID, 1.0)
    feed.later(0.099).set()
    assert detector.value(feed.now) == ()
    feed.later(0.001).set()
    assert detector.value(feed.now) != ()


def test_a_trade_older_than_the_quantity_seen_is_no_fill() -> None:
    feed, detector = market()
    for _trade in range(6):
        feed.trade(BID, 1.0, ago=0.05)
    assert [run.waiting for run in detector.snapshot().sides[0].runs] == [[]]


def test_trades_that_arrive_after_their_book_event_are_fills() -> None:
    feed, detector = market()
    for _fill in range(7):
        feed.later(0.5).set()
        feed.trade(BID, 1.0, ago=0.02)
    feed.later(0.1).set()
    assert detector.value(feed.now)


def test_icebergs_at_several_prices_are_told_apart() -> None:
    feed, detector = market()
    for _fill in range(6):
        fill(feed, price=BID)
        fill(feed, qty=0.5, left=1.0, price=99.97)
        feed.trade(100.02, 0.9, "buy")
    assert [found.note[:9] for found in detector.value(feed.now)] == ["bid 99.97", "bid 99.99", "ask 100.0"]


def test_an_iceberg_waits_while_the_best_price_is_elsewhere() -> None:
    feed, detector = market()
    for _fill in range(3):
        fill(feed)
    feed.later(1).set([(100.0, 5.0)])
    feed.later(20).set([(100.0, 0.0)])
    for _fill in range(2):
        fill(feed)
    assert detector.value(feed.now)


@pytest.mark.parametrize(("apart", "found"), [(30.0, True), (30.001, False)])
def test_fills_long_apart_are_unrelated(apart: float, found: bool) -> None:
    feed, detector = market()
    for _fill in range(8):
        feed.trade(BID, 1.0)
        feed.later(0.1).set()
        feed.later(apart - 0.1).set()
    assert bool(detector.value(feed.now)) is found


@pytest.mark.parametrize(
    ("fills", "qty", "severity"),
    [(7, 2.0, "low"), (8, 2.0, "medium"), (8, 0.7, "low"), (15, 2.0, "high"), (15, 0.7, "medium")],
)
def test_severity_rises_with_fills_and_hidden_quantity(fills: int, qty: float, severity: str) -> None:
    feed, detector = market()
    for _fill in range(fills):
        fill(feed, qty=qty)
    assert [found.severity for found in detector.value(feed.now)] == [severity]


def test_a_finding_stays_for_its_time_after_the_newest_fill() -> None:
    feed, detector = market()
    for _fill in range(5):
        fill(feed)
    found = feed.now
    feed.later(20).set()
    assert detector.value(found + 30 * SECOND - 1) != ()
    assert detector.value(found + 30 * SECOND) == ()


def test_a_restart_of_the_book_begins_the_count_anew() -> None:
    feed, detector = market()
    for _fill in range(4):
        fill(feed)
    feed.restart(bids=[(BID, 2.0)])
    fill(feed)
    feed.lose()
    assert detector.value(feed.now) == ()


def test_a_finding_outlives_the_book() -> None:
    feed, detector = market()
    for _fill in range(5):
        fill(feed)
    feed.lose()
    assert detector.value(feed.now) != ()


def test_a_price_that_the_book_does_not_show_has_no_iceberg() -> None:
    feed, detector = market()
    for _fill in range(10):
        fill(feed, price=98.0, left=None)
    assert detector.value(feed.now) == ()


def test_prices_and_findings_are_bounded() -> None:
    feed = BookFeed()
    detector = Iceberg(lambda side, price: 1.0)
    feed.listen(detector.update)
    for n in range(500):
        feed.later(0.01).trade(round(90 + n / 100, 2), 0.5)
    assert [len(side.runs) for side in detector.snapshot().sides] == [MAX_PRICES, 0]
    began = feed.now + SECOND // 100
    for n in range(500):
        feed.later(0.01).set()
        feed.trade(round(90 + n / 100, 2), 0.1)
        feed.trade(80.0, 0.1)
    # The one that is filled all the time has stayed since it began.
    assert [run.since for run in detector.snapshot().sides[0].runs if run.price == 80.0] == [began]
    for _fill in range(6):
        for n in range(20):
            feed.trade(round(80 + n / 100, 2), 0.5)
        feed.later(0.1).set()
    assert len(detector.value(feed.now)) == MAX_FINDINGS
    assert len(msgspec.msgpack.encode(detector.snapshot())) < 20_000
