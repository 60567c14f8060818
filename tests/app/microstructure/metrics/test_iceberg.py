from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.microstructure.book import BookChange, LevelChange, OrderBook
from app.microstructure.events import OrderBookDeltas, TradeTick
from app.microstructure.metrics.iceberg import (
    BAND,
    MAX_FINDINGS,
    MAX_PRICES,
    MIN_FILLS,
    Iceberg,
    IcebergParams,
    IcebergState,
)
from app.microstructure.report import Anomaly
from support.book_feed import BookFeed, BookSide, Observation
from support.markets import SECOND
from support.tapes import tape_events

MS = SECOND // 1000
DEFAULTS = IcebergParams()
BID = 99.99


def market(params: IcebergParams = DEFAULTS, tip: float = 2.0) -> tuple[BookFeed, Iceberg]:
    """Return a market with a best bid of `tip`, and a detector."""
    feed = BookFeed()
    detector = Iceberg(feed.visible, params)
    feed.listen(detector.update)
    feed.later(1).set([(BID, tip)])
    return feed, detector


def fill(feed: BookFeed, qty: float = 1.0, left: float | None = 2.0, price: float = BID) -> None:
    """Let a trade happen, and 100 ms later a book event that shows `left`; `None` does not mention the level."""
    feed.later(0.4)
    feed.trade(price, qty)
    feed.later(0.1).set([] if left is None else [(price, left)])


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


@dataclass
class Level:
    """The run of fills that goes on at a price."""

    visible: int
    since: int
    last_fill: int
    short_since: int | None = None
    fills: list[int] = field(default_factory=list)
    unconfirmed: list[tuple[int, int, int]] = field(default_factory=list)


class Reference:
    """The definition, price by price over the whole history, gone through again for every value."""

    def __init__(self, params: IcebergParams) -> None:
        self.params = params
        self.history: list[Observation] = []

    def update(self, observation: Observation) -> None:
        self.history.append(observation)

    def value(self, as_of: int) -> tuple[Anomaly, ...]:
        found = []
        for side in ("bid", "ask"):
            for price in sorted({each.payload.price for each in self.history if isinstance(each, TradeTick)}):
                newest = self.findings(side, price)[-1:]
                found += [anomaly for at, anomaly in newest if as_of < at + self.params.hold_sec * SECOND]
        return tuple(found)

    def findings(self, side: str, price: float) -> list[tuple[int, Anomaly]]:
        """Return when the price was an iceberg, and what was to be said of it."""
        found = list[tuple[int, Anomaly]]()
        shown, now = 0, 0
        run: Level | None = None
        for observation in self.history:
            if isinstance(observation, TradeTick):
                if observation.payload.price == price and (observation.payload.aggressor_side == "sell") == (
                    side == "bid"
                ):
                    run = self.traded(run, observation, shown, now)
                continue
            now = max(now, observation.ts_event)
            if observation.restarted or not observation.known:
                run, shown = None, 0
            if run is not None and run.short_since is not None:
                run = run if now - run.short_since <= self.params.dip_ms * MS else None
            for after in [level[2] for level in self.levels(observation, side) if level[0] == price]:
                shown = round(after * 1e8)
                run = self.seen(run, shown, now)
            if run is not None and run.short_since is None and self.confirm(run, now):
                found.append((now, self.anomaly(side, price, run)))
        return found

    def levels(self, change: BookChange, side: str) -> list[LevelChange]:
        return change.bids if side == "bid" else change.asks

    def traded(self, run: Level | None, tick: TradeTick, shown: int, now: int) -> Level | None:
        if run is not None and now - run.last_fill > self.params.idle_sec * SECOND:
            run = None
        if run is None and shown:
            run = Level(shown, now, last_fill=now)
        if run is not None and tick.ts_event >= run.since:
            run.last_fill = now
            begun = run.unconfirmed[-1][0] if run.unconfirmed and run.short_since is not None else now
            run.unconfirmed.append((begun, int(tick.ts_event), round(tick.payload.qty * 1e8)))
        return run

    def seen(self, run: Level | None, shown: int, now: int) -> Level | None:
        if run is None or shown - run.visible > BAND * run.visible:
            return None
        if run.visible - shown <= BAND * run.visible:
            run.short_since = None
        elif run.short_since is None:
            run.short_since = now
        return run

    def confirm(self, run: Level, now: int) -> bool:
        """Count what must be in the book by now; return whether that makes an iceberg, or one more fill of it."""
        added = 0
        for seen_at in sorted({seen_at for seen_at, _, _ in run.unconfirmed}):
            burst = [each for each in run.unconfirmed if each[0] == seen_at]
            if max(time for _, time, _ in burst) + self.params.confirm_ms * MS > now:
                continue
            run.unconfirmed = [each for each in run.unconfirmed if each[0] != seen_at]
            traded = sum(units for _, _, units in burst)
            if traded >= self.params.min_fill * run.visible:
                run.fills.append(traded)
                added += 1
        return bool(added) and len(run.fills) >= MIN_FILLS

    def anomaly(self, side: str, price: float, run: Level) -> Anomaly:
        params = self.params
        count, traded = len(run.fills), sum(run.fills)
        multiple = traded / run.visible
        if count >= params.high_fills and multiple >= params.high_multiple:
            severity = "high"
        else:
            severity = "medium" if count >= params.medium_fills and multiple >= params.medium_multiple else "low"
        texts = [f"{number:.8f}".rstrip("0").rstrip(".") for number in (price, traded / 1e8, run.visible / 1e8)]
        note = f"{side} {texts[0]}: {count} fills took {texts[1]} while {texts[2]} stayed visible ({multiple:.1f} x)"
        return Anomaly("iceberg", severity, note)  # type: ignore[arg-type]


QUICK = IcebergParams(idle_sec=3, hold_sec=2, medium_fills=6, medium_multiple=2.0, high_fills=8, high_multiple=3.0)
PRICES = st.sampled_from((99.99, 99.99, 99.99, 99.98, 100.01))
TRADED = st.tuples(st.just("trade"), PRICES, st.sampled_from((0.1, 0.5, 1.0)), st.sampled_from((0, 0, 1, 3)))
SET = st.tuples(st.just("set"), PRICES, st.sampled_from((0.95, 1.0, 1.0, 1.1, 1.1, 0.4, 0.0, 1.3)))
FILLED = st.tuples(
    st.just("fill"), st.sampled_from((0.15, 0.5, 1.0)), st.sampled_from((None, None, 1.0, 0.95, 1.1, 0.4))
)
OTHER = st.sampled_from((*[("nothing",)] * 6, ("restart",)))
STEPS = st.lists(
    st.tuples(
        st.sampled_from((0, 50, 100, 100, 100, 300, 2000)),
        st.one_of(FILLED, FILLED, FILLED, FILLED, TRADED, TRADED, SET, OTHER),
    ),
    min_size=15,
    max_size=60,
)


def play(feed: BookFeed, steps: Sequence[tuple[int, tuple[object, ...]]]) -> None:
    for pause, step in steps:
        feed.later(pause / 1000)
        match step:
            case "trade", float(price), float(qty), int(ago):
                feed.trade(price, qty, "sell" if price < 100 else "buy", ago=ago / 20)
            case "fill", float(qty), left:
                fill(feed, qty, left if isinstance(left, float) else None)
            case "set", float(price), float(qty):
                feed.set([(price, qty)] if price < 100 else (), () if price < 100 else [(price, qty)])
            case ("nothing",):
                feed.set()
            case _:
                feed.restart()


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_findings_equal_the_definition_over_the_whole_history_at_every_prefix(
    steps: list[tuple[int, tuple[object, ...]]],
) -> None:
    feed, reference = BookFeed(), Reference(QUICK)
    detector = Iceberg(feed.visible, QUICK)

    def compare(observation: Observation) -> None:
        detector.update(observation)
        reference.update(observation)
        newest = max(int(each.ts_event) for each in reference.history)
        for later in (0, 1900):
            assert detector.value(newest + later * MS) == reference.value(newest + later * MS)

    feed.listen(compare)
    play(feed, steps)


@given(STEPS, st.data())
def test_a_restored_detector_goes_on_as_if_nothing_had_happened(
    steps: list[tuple[int, tuple[object, ...]]], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(steps)))
    feed = BookFeed()
    whole, parted = Iceberg(feed.visible, QUICK), Iceberg(feed.visible, QUICK)
    feed.listen(whole.update)
    feed.listen(lambda observation: parted.update(observation))
    play(feed, steps[:cut])
    packed = msgspec.msgpack.encode(parted.snapshot())
    first, parted = parted, Iceberg.restore(msgspec.msgpack.decode(packed, type=IcebergState), feed.visible, QUICK)
    play(feed, steps[cut:])
    assert msgspec.msgpack.encode(parted.snapshot()) == msgspec.msgpack.encode(whole.snapshot())
    assert parted.value(feed.now + SECOND) == whole.value(feed.now + SECOND)
    assert msgspec.msgpack.encode(first.snapshot()) == packed


class Tape:
    """The recorded market, and the quantities that its book shows."""

    def __init__(self, path: Path) -> None:
        self._events = tape_events(path)
        self._levels: dict[BookSide, dict[float, float]] = {"bid": {}, "ask": {}}

    def __iter__(self) -> Iterator[Observation]:
        book = OrderBook()
        for event in self._events:
            if isinstance(event, TradeTick):
                yield event
            elif isinstance(event, OrderBookDeltas):
                change = book.apply_deltas(event.payload, int(event.ts_event))
                assert change is not None
                self._levels["bid"].update((price, after) for price, _, after in change.bids)
                self._levels["ask"].update((price, after) for price, _, after in change.asks)
                yield change

    def visible(self, side: BookSide, price: float) -> float:
        return self._levels[side].get(price, 0.0)


@pytest.mark.tape
def test_findings_equal_the_definition_on_the_tape(tape_path: Path) -> None:
    eager = IcebergParams(min_fill=0.005, dip_ms=1000, hold_sec=30)
    tape, reference = Tape(tape_path), Reference(eager)
    detector = Iceberg(tape.visible, eager)
    found = 0
    for number, observation in enumerate(islice(tape, 1800)):
        detector.update(observation)
        reference.update(observation)
        if number % 300 == 299:
            newest = max(int(each.ts_event) for each in reference.history)
            expected = reference.value(newest)
            assert detector.value(newest) == expected
            found += len(expected)
    assert found > 0


@pytest.mark.tape
def test_nothing_is_found_on_the_recorded_market(tape_path: Path) -> None:
    tape = Tape(tape_path)
    detector = Iceberg(tape.visible)
    for observation in tape:
        detector.update(observation)
        assert detector.value(int(observation.ts_event)) == ()
