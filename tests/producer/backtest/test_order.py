from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.microstructure.events import Event
from producer.backtest.order import EventTimeOrder
from producer.backtest.source import ExtentScan
from support.markets import START, deltas, ticker, trade

MS = 1_000_000


def ordered(events: list[Event], lateness_ns: int) -> list[tuple[int, Event]]:
    order = EventTimeOrder(lateness_ns)
    done = [pair for event in events for pair in order.push(event)]
    return done + list(order.rest())


def lateness_of(events: list[Event]) -> int:
    scan = ExtentScan()
    for event in events:
        scan.note(int(event.ts_event))
    return scan.extent().lateness_ns


def test_a_trade_that_was_overtaken_by_a_diff_comes_before_it() -> None:
    late = trade(1, at=START + 5 * MS)
    diff = deltas(1, 2, at=START + 8 * MS)
    assert ordered([diff, late], 3 * MS) == [(START + 5 * MS, late), (START + 8 * MS, diff)]


def test_events_of_one_time_keep_the_order_of_receipt() -> None:
    events: list[Event] = [trade(1), deltas(1, 2), trade(2), ticker()]
    assert [event for _, event in ordered(events, 0)] == events


def test_a_stream_is_never_reordered_and_later_ones_wait_for_earlier_ones() -> None:
    first, second = deltas(1, 2, at=START + 9 * MS), deltas(3, 4, at=START + 5 * MS)
    between = trade(1, at=START + 7 * MS)
    assert ordered([first, second, between], 4 * MS) == [
        (START + 7 * MS, between),
        (START + 9 * MS, first),
        (START + 9 * MS, second),
    ]


def test_symbols_are_streams_of_their_own() -> None:
    bitcoin, ether = trade(1, at=START + 9 * MS), trade(1, at=START, symbol="ETHUSDT")
    assert [event for _, event in ordered([bitcoin, ether], 9 * MS)] == [ether, bitcoin]


def test_without_lateness_nothing_is_held_back() -> None:
    order = EventTimeOrder(0)
    event = trade(1)
    assert list(order.push(event)) == [(START, event)]


def test_an_event_is_held_back_while_another_may_come_before_it() -> None:
    order = EventTimeOrder(10 * MS)
    assert list(order.push(trade(1, at=START))) == []
    assert list(order.push(trade(2, at=START + 9 * MS))) == []
    assert [at for at, _ in order.push(trade(3, at=START + 10 * MS))] == [START]


@st.composite
def received(draw: st.DrawFn) -> list[Event]:
    """Events of two symbols and two kinds, whose times wander."""
    events: list[Event] = []
    for trade_id in range(draw(st.integers(1, 40))):
        at = START + draw(st.integers(0, 300)) * MS
        symbol = draw(st.sampled_from(("BTCUSDT", "ETHUSDT")))
        made = trade(trade_id, at=at, symbol=symbol) if draw(st.booleans()) else ticker(at=at, symbol=symbol)
        events.append(made)
    return events


@given(received())
def test_every_event_comes_once_in_order_of_its_time_and_each_stream_as_it_was_received(events: list[Event]) -> None:
    done = ordered(events, lateness_of(events))
    assert [at for at, _ in done] == sorted(at for at, _ in done)
    assert all(at >= event.ts_event for at, event in done)
    for stream in {(event.symbol, type(event)) for event in events}:
        assert list(_stream(stream, [event for _, event in done])) == list(_stream(stream, events))


@given(received())
def test_where_each_stream_is_in_order_it_is_a_stable_sort_by_event_time(events: list[Event]) -> None:
    streams = {(event.symbol, type(event)) for event in events}
    queues = {stream: iter(sorted(_stream(stream, events), key=_time)) for stream in streams}
    events = [next(queues[event.symbol, type(event)]) for event in events]
    assert [event for _, event in ordered(events, lateness_of(events))] == sorted(events, key=_time)


@pytest.mark.parametrize("behind_ms", [0, 7])
def test_the_lateness_of_a_recording_is_how_far_a_message_lies_behind_the_newest(behind_ms: int) -> None:
    scan = ExtentScan()
    for at in (START, START + 20 * MS, START + (20 - behind_ms) * MS, START + 30 * MS):
        scan.note(at)
    extent = scan.extent()
    assert (extent.first_ns, extent.last_ns, extent.messages) == (START, START + 30 * MS, 4)
    assert extent.lateness_ns == behind_ms * MS


def test_what_may_be_stamped_between_two_milliseconds_is_taken_as_the_later_one() -> None:
    scan = ExtentScan()
    scan.assume(START + 1)
    scan.note(START)
    assert scan.extent().lateness_ns == MS


def _time(event: Event) -> int:
    return int(event.ts_event)


def _stream(stream: tuple[str, type], events: list[Event]) -> Iterator[Event]:
    return (event for event in events if (event.symbol, type(event)) == stream)
