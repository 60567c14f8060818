"""Event times that are wrong for a moment, or for long: what reports say afterwards."""

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.microstructure.engine import EngineParams, SymbolEngine
from app.microstructure.event_clock import DOUBT, PATIENCE, ROW, EventClock, Step
from app.microstructure.events import EVENT_TYPES, Event, Nanos, Side
from app.microstructure.report import Stamp, encode
from support.examples import examples
from support.markets import SECOND, START, deltas, depth, numbered, snapshot, ticker, trade

PARAMS = EngineParams()
STAMP = Stamp("node-1", 7, 3, START)
TENTH = SECOND // 10


def engine_after(events: Sequence[Event]) -> SymbolEngine:
    engine = SymbolEngine("BTCUSDT", PARAMS)
    for offset, event in numbered(events):
        engine.apply(event, offset)
    return engine


def market(seconds: int, wrong: dict[int, int] | None = None) -> list[Event]:
    """Ten trades, diffs and top 20s a second and a ticker; `wrong` moves the times of single tenths by seconds."""
    events: list[Event] = [snapshot(1000, [(99.0, 1.0)], [(101.0, 1.0)])]
    for tenth in range(1, 10 * seconds + 1):
        at = START + tenth * TENTH + (wrong or {}).get(tenth, 0) * SECOND
        side: Side = "buy" if tenth % 3 else "sell"
        events.append(trade(tenth, 100.0, 1.0, side, at))
        events.append(deltas(1000 + tenth, 1000 + tenth, [(99.0, 1.0 + tenth)], at=at))
        events.append(depth(1000 + tenth, [(99.0, 1.0 + tenth)], [(101.0, 1.0)], at))
        if tenth % 10 == 0:
            events.append(ticker(100.0 + tenth, at))
    return events


def ahead(tenths: range, seconds: int = 50) -> dict[int, int]:
    return dict.fromkeys(tenths, seconds)


MOMENT = ahead(range(600, 603))


def test_after_a_leap_of_the_events_times_the_newest_time_is_true_again() -> None:
    true, leapt = engine_after(market(62)), engine_after(market(62, MOMENT))
    assert leapt.ts_event == true.ts_event == START + 62 * SECOND
    assert leapt.report(leapt.ts_event + 2 * SECOND, STAMP).ingestion.status == "degraded"


def test_a_leap_does_not_hide_the_age_of_the_data() -> None:
    wall = START + 65 * SECOND
    report = engine_after(market(62, MOMENT)).report(START + 65 * SECOND, Stamp("node-1", 7, 3, wall))
    assert report.data_age_ms == 3000
    assert report.ingestion.last_event_age_ms == 3000


@pytest.mark.parametrize("seconds", [61, 75, 120])
@pytest.mark.parametrize("leap", [7, 50, 3600])
def test_a_leap_changes_neither_trade_rate_nor_net_flow_nor_profile(seconds: int, leap: int) -> None:
    true = engine_after(market(seconds)).report(START + seconds * SECOND, STAMP)
    leapt = engine_after(market(seconds, ahead(range(600, 603), leap))).report(START + seconds * SECOND, STAMP)
    assert leapt.flow == true.flow
    assert leapt.flow.orders_per_sec == 10.0
    assert leapt.liquidity == true.liquidity
    assert (leapt.last_price, leapt.best_bid) == (true.last_price, true.best_bid)
    assert leapt.ingestion == true.ingestion


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_one_event_of_any_kind_may_leap_alone(kind: str) -> None:
    events = market(62)
    at = next(number for number, event in enumerate(events) if event.kind == kind and number > 1800)
    events[at] = msgspec.structs.replace(events[at], ts_event=Nanos(events[at].ts_event + 50 * SECOND))
    engine = engine_after(events)
    assert engine.ts_event == START + 62 * SECOND
    report = engine.report(engine.ts_event, STAMP)
    assert (report.flow.orders_per_sec, report.last_price) == (10.0, 720.0)


def test_two_leaps_on_top_of_one_another_are_both_taken_back() -> None:
    wrong = ahead(range(600, 602)) | ahead(range(602, 604), 100)
    true, leapt = engine_after(market(62)), engine_after(market(62, wrong))
    at = START + 62 * SECOND
    assert leapt.ts_event == at
    assert leapt.report(at, STAMP).flow == true.report(at, STAMP).flow


def test_a_first_event_that_is_wrong_does_not_decide() -> None:
    events = [snapshot(1, [(99.0, 1.0)], [(101.0, 1.0)], at=START + 50 * SECOND), *market(40)]
    report = engine_after(events).report(START + 40 * SECOND, STAMP)
    assert report.flow.orders_per_sec == 10.0
    assert report.flow.net_flow is not None


def test_a_leap_that_the_events_bear_out_stays() -> None:
    """The source was away for five minutes."""
    later = ahead(range(600, 1300), 300)
    engine = engine_after(market(129, later))
    assert engine.ts_event == START + (129 + 300) * SECOND
    assert engine.report(engine.ts_event, STAMP).flow.orders_per_sec == 10.0


def test_a_batch_that_is_sent_twice_counts_once_even_where_it_holds_a_leap_that_was_taken_back() -> None:
    events = market(62, MOMENT)
    twice = [*events, *events[3 * 595 :]]
    as_of = START + 62 * SECOND
    true = engine_after(market(62)).report(as_of, STAMP).flow
    engine = engine_after(twice)
    for number in range(ROW):
        engine.apply(deltas(1621 + number, 1621 + number, [(99.0, 700.0 + number)], at=as_of), len(twice) + number)
    assert engine.report(as_of, STAMP).flow == true
    assert (engine.ts_event, engine.ids_begun_again) == (as_of, 0)


def test_trade_ids_that_begin_again_are_followed_at_once_and_counted() -> None:
    again = [trade(number, at=START + (62 * 10 + number) * TENTH) for number in range(1, 101)]
    engine = engine_after([*market(62), *again])
    assert engine.report(engine.ts_event, STAMP).flow.orders_per_sec == 10.0
    assert (engine.ids_begun_again, engine.repeated) == (1, 0)


def test_what_was_sent_twice_is_counted() -> None:
    events = market(10)
    engine = engine_after([*events, *events[1:]])
    assert (engine.repeated, engine.ids_begun_again) == (200, 0)


def test_events_that_are_sent_twice_do_not_set_the_clock_back() -> None:
    """A batch that was sent again holds what is known: its ids say so, however old its times are."""
    events = market(62)
    again = [*events, *events[3 * 500 :]]
    assert engine_after(again).ts_event == START + 62 * SECOND
    assert encode(engine_after(again).report(START + 62 * SECOND, STAMP).flow) == encode(
        engine_after(events).report(START + 62 * SECOND, STAMP).flow
    )


def test_a_stream_that_lags_does_not_set_the_clock_back() -> None:
    """Trades come over another connection than diffs, and bring up to 8 s at once."""
    events = market(62)
    late = [event for event in events[-240:] if event.kind == "trade_tick"]
    on_time = [event for event in events if event not in late]
    engine = engine_after([*on_time, *late])
    assert engine.ts_event == START + 62 * SECOND


def test_a_moment_of_times_from_the_past_does_not_set_the_clock_back() -> None:
    behind = engine_after(market(62, ahead(range(600, 610), -50)))
    seen = 0
    engine = SymbolEngine("BTCUSDT", PARAMS)
    for offset, event in numbered(market(62, ahead(range(600, 610), -50))):
        engine.apply(event, offset)
        assert engine.ts_event >= seen
        seen = engine.ts_event
    assert behind.ts_event == START + 62 * SECOND


def test_a_clock_that_was_wrong_for_long_is_followed_and_flow_is_not_known_until_its_window_is_full_again() -> None:
    engine = engine_after(market(400, ahead(range(1, 3000), 3600)))
    assert engine.ts_event == START + 400 * SECOND
    assert engine.report(engine.ts_event, STAMP).flow.orders_per_sec == 10.0
    soon = engine_after(market(335, ahead(range(1, 3000), 3600)))
    assert soon.ts_event == START + 335 * SECOND
    assert soon.report(soon.ts_event, STAMP).flow.orders_per_sec is None


LEAPS = st.dictionaries(st.integers(1, 200), st.integers(-90, 90), max_size=25)


@settings(max_examples=examples(20))
@given(LEAPS, st.data())
def test_whatever_the_times_restores_at_any_point_give_the_same_bytes(
    wrong: dict[int, int], data: st.DataObject
) -> None:
    events = market(25, wrong)
    undisturbed = engine_after(events)
    disturbed = SymbolEngine("BTCUSDT", PARAMS)
    restores = data.draw(st.sets(st.integers(0, len(events) - 1), max_size=5))
    for offset, event in numbered(events):
        disturbed.apply(event, offset)
        if offset in restores:
            disturbed = SymbolEngine.restore(disturbed.snapshot(), PARAMS)
    assert disturbed.snapshot() == undisturbed.snapshot()
    as_of = undisturbed.ts_event + data.draw(st.integers(0, 60)) * SECOND
    assert encode(disturbed.report(as_of, STAMP)) == encode(undisturbed.report(as_of, STAMP))


@settings(max_examples=examples(20))
@given(LEAPS)
def test_whatever_the_times_thirty_true_seconds_later_the_report_is_as_if_they_had_been_true(
    wrong: dict[int, int],
) -> None:
    seconds = 60
    leapt, true = engine_after(market(seconds, wrong)), engine_after(market(seconds))
    at = START + seconds * SECOND
    assert leapt.ts_event == true.ts_event == at
    assert leapt.report(at, STAMP).flow == true.report(at, STAMP).flow


def test_the_clock_goes_back_after_a_row_of_new_events_before_the_leap() -> None:
    clock = EventClock()
    assert clock.see(START + 50 * SECOND, START, new=True) is Step.LEAPT
    newest = START + 50 * SECOND
    steps = [clock.see(START + number, newest, new=True) for number in range(ROW)]
    assert steps == [Step.NOTHING] * (ROW - 1) + [Step.WENT_BACK]
    assert (clock.latest, clock.held, clock.alert) == (START + ROW - 1, None, False)


def test_an_event_near_the_newest_time_ends_the_row() -> None:
    clock = EventClock()
    newest = START + 50 * SECOND
    clock.see(newest, START, new=True)
    for number in range(5 * ROW):
        at = newest if number % (ROW - 1) == 0 else START + number
        assert clock.see(at, newest, new=True) is Step.NOTHING


def test_a_leap_is_believed_when_the_clock_has_gone_on_for_long() -> None:
    clock = EventClock()
    landed = START + 50 * SECOND
    clock.see(landed, START, new=True)
    newest, steps = landed, []
    while clock.alert:
        steps.append(clock.see(newest + SECOND, newest, new=True))
        newest += SECOND
    assert (steps[-1], newest) == (Step.BELIEVED, landed + DOUBT)
    assert clock.see(START, newest, new=True) is Step.NOTHING


def test_without_a_leap_the_clock_goes_back_when_all_events_have_for_long() -> None:
    clock = EventClock()
    newest, step, at = START, Step.NOTHING, START - 3600 * SECOND
    while step is Step.NOTHING:
        step = clock.see(at, newest, new=True)
        at += SECOND
    assert (step, clock.latest) == (Step.RESET, START - 3600 * SECOND + PATIENCE)


def test_in_a_market_where_each_event_is_a_leap_windows_are_not_held_for_ever() -> None:
    clock, newest = EventClock(), START
    clock.see(START, 0, new=True)
    for _ in range(100):
        clock.see(newest + 10 * SECOND, newest, new=True)
        newest += 10 * SECOND
        assert clock.held is not None
        assert newest - clock.held <= DOUBT + 10 * SECOND or clock.held == 0


def test_reports_in_the_leap_and_after_it_fit_the_contract() -> None:
    engine = SymbolEngine("BTCUSDT", PARAMS)
    for offset, event in numbered(market(62, ahead(range(600, 610)))):
        engine.apply(event, offset)
        if offset > 1790:
            engine.report(engine.ts_event, STAMP)
