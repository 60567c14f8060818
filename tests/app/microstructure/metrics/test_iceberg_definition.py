"""The detector equals the definition over the whole history, on drawn streams and on the recorded market."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.microstructure.book import OrderBook
from app.microstructure.events import OrderBookDeltas, TradeTick
from app.microstructure.metrics.iceberg import (
    Iceberg,
    IcebergParams,
    IcebergState,
)
from support.book_feed import BookFeed, BookSide, Observation
from support.examples import examples
from support.iceberg_reference import Reference
from support.icebergs import MS, fill
from support.markets import SECOND
from support.tapes import tape_events

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


@settings(max_examples=examples(200))
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
