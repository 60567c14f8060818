from collections.abc import Callable

import pytest
from aiokafka import ConsumerRecord
from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

from agents.admission import Admission
from agents.intake import Intake, home_partition
from agents.owned import Owned, PartitionProgress
from app.batches import Unreadable
from app.microstructure.engine import EngineParams, SymbolEngine
from app.microstructure.events import BadEventError, Event
from support.markets import SECOND, START, streams, trade
from support.records import PARTITIONS, TOPIC, Steps, record

HOME = home_partition("BTCUSDT", PARTITIONS)


class Aside:
    """Dead letters that are acknowledged when told to."""

    def __init__(self) -> None:
        self.sent: list[tuple[ConsumerRecord, BadEventError, Callable[[], None]]] = []

    def __call__(self, bad: ConsumerRecord, error: BadEventError, done: Callable[[], None]) -> None:
        self.sent.append((bad, error, done))


@pytest.fixture
def owned() -> Owned:
    """Every partition is read from offset 5."""
    owned = Owned()
    owned.partitions = {partition: PartitionProgress(position=4) for partition in range(PARTITIONS)}
    return owned


@pytest.fixture
def steps() -> Steps:
    return Steps()


@pytest.fixture
def aside() -> Aside:
    return Aside()


@pytest.fixture
def intake(owned: Owned, aside: Aside, steps: Steps) -> Intake:
    return Intake(owned, EngineParams(), PARTITIONS, aside, steps, monotonic_ns=lambda: 77)


def test_home_is_where_every_kafka_client_puts_the_key() -> None:
    for symbol in ("BTCUSDT", "ETHUSDT", "A1", "X" * 20):
        partitions = list(range(PARTITIONS))
        assert home_partition(symbol, PARTITIONS) == DefaultPartitioner()(symbol.encode(), partitions, partitions)


def test_events_reach_the_engine_of_their_symbol(intake: Intake, owned: Owned) -> None:
    intake.take([record(trade(1), 5), record(trade(2), 6)])
    symbol = owned.symbols["BTCUSDT"]
    assert (symbol.engine.offset, symbol.partition, symbol.arrived_ns) == (6, HOME, 77)
    assert symbol.uncovered == 5
    assert owned.partitions[HOME].position == 6


def test_the_as_of_time_runs_on_from_the_arrival_of_the_newest_event_whatever_old_ones_come(
    owned: Owned, aside: Aside, steps: Steps
) -> None:
    now = [0]
    intake = Intake(owned, EngineParams(), PARTITIONS, aside, steps, monotonic_ns=lambda: now[0])
    intake.take([record(trade(1, at=START), 5), record(trade(2, at=START + SECOND), 6)])
    for second in range(1, 5):
        now[0] = second * SECOND
        intake.take([record(trade(1, at=START), 6 + second)])
    assert owned.symbols["BTCUSDT"].as_of(5 * SECOND) == START + 6 * SECOND
    intake.take([record(trade(3, at=START + 7 * SECOND), 11)])
    assert owned.symbols["BTCUSDT"].as_of(5 * SECOND) == START + 8 * SECOND


def test_ages_go_on_after_times_that_ran_ahead(owned: Owned, aside: Aside, steps: Steps) -> None:
    now = [0]
    intake = Intake(owned, EngineParams(), PARTITIONS, aside, steps, monotonic_ns=lambda: now[0])
    for number in range(20):
        now[0] = number * SECOND
        ahead = 50 * SECOND if number in (8, 9) else 0
        intake.take([record(trade(number, at=START + number * SECOND + ahead), 5 + number)])
    symbol = owned.symbols["BTCUSDT"]
    assert symbol.as_of(23 * SECOND) == START + 23 * SECOND
    assert symbol.engine.ts_event == START + 19 * SECOND


def test_an_event_seen_before_changes_nothing(intake: Intake, owned: Owned) -> None:
    intake.take([record(trade(1), 5)])
    symbol = owned.symbols["BTCUSDT"]
    symbol.snapshot_taken()
    symbol.snapshot_acknowledged(5, 5)
    intake.take([record(trade(1), 5)])
    assert symbol.uncovered is None


def test_rubbish_goes_aside_with_its_reason_and_the_stream_goes_on(intake: Intake, owned: Owned, aside: Aside) -> None:
    intake.take([record(b"{", 5, partition=HOME), record(trade(1), 6)])
    ((bad, error, done),) = aside.sent
    assert (bad.offset, error.reason) == (5, "malformed_json")
    assert owned.symbols["BTCUSDT"].engine.offset == 6
    assert owned.committable()[HOME] == 5, "not before it is safe in the dead-letter topic"
    done()
    assert owned.committable()[HOME] == 6


def test_an_event_from_the_future_goes_aside_and_a_clock_that_is_off_by_less_does_not(
    intake: Intake, owned: Owned, aside: Aside
) -> None:
    sent_ms = START // 1_000_000
    intake.take([record(trade(1, at=START + 50 * SECOND), 5, timestamp=sent_ms)])
    intake.take([record(trade(2, at=START + 61 * SECOND), 6, timestamp=sent_ms)])
    assert [error.reason for _, error, _ in aside.sent] == ["time_ahead"]
    assert owned.symbols["BTCUSDT"].engine.offset == 5


@pytest.mark.parametrize("sent_ms", [-1, 0, START // 1_000_000 + 70 * 365 * 86_400_000], ids=["none", "zero", "lies"])
def test_no_event_is_from_another_day_than_ours_whatever_its_record_says(
    owned: Owned, aside: Aside, steps: Steps, sent_ms: int
) -> None:
    day = 86_400 * SECOND
    intake = Intake(owned, EngineParams(), PARTITIONS, aside, steps, wall_ns=lambda: START)
    intake.take([record(trade(1, at=START + day), 5, timestamp=sent_ms)])
    intake.take([record(trade(2, at=START + day + 1), 6, timestamp=sent_ms)])
    assert [(bad.offset, error.reason) for bad, error, _ in aside.sent] == [(6, "time_ahead")]


def test_records_that_nobody_can_read_go_aside_by_their_offsets_and_leave_no_hole(
    intake: Intake, owned: Owned, aside: Aside, steps: Steps
) -> None:
    bad = Unreadable(TOPIC, HOME, 8, -1, 0, None, None, None, -1, -1, (), 5, "damaged_batch", "its checksum is another")
    intake.take([bad, record(trade(1), 9)])
    ((sent, error, done),) = aside.sent
    assert (sent, error.reason, str(error)) == (bad, "damaged_batch", "damaged_batch: its checksum is another")
    assert steps.taken == []
    assert owned.symbols["BTCUSDT"].engine.offset == 9
    assert owned.committable()[HOME] == 5
    done()
    assert owned.committable()[HOME] == 9
    intake.take([bad, record(trade(1), 9)])
    assert len(aside.sent) == 1, "read again, already set aside"


def test_rubbish_that_is_read_again_is_not_sent_aside_again(intake: Intake, aside: Aside) -> None:
    for _ in range(2):
        intake.take([record(b"{", 5)])
    assert len(aside.sent) == 1


def test_records_that_are_not_the_next_are_asked_for_again_and_leave_no_hole(
    intake: Intake, owned: Owned, steps: Steps
) -> None:
    """A client that was sought elsewhere may still deliver what it had fetched before."""
    intake.take([record(trade(3), 7)])
    assert steps.taken == [("read_again", HOME, 5)]
    assert owned.symbols == {}
    assert owned.partitions[HOME].position == 4
    intake.take([record(trade(1), 5), record(trade(2), 6)])
    intake.take([record(trade(3), 7)])
    assert owned.symbols["BTCUSDT"].engine.offset == 7
    assert len(steps.taken) == 1


def test_a_hole_that_the_log_has_is_taken_at_the_second_time_and_looked_into(
    intake: Intake, owned: Owned, steps: Steps
) -> None:
    """The end of the retention took offsets 5 and 6, or a transaction used them."""
    for _ in range(2):
        intake.take([record(trade(3), 7)])
    assert steps.taken == [("read_again", HOME, 5), ("skipped", HOME, 5)]
    assert owned.symbols["BTCUSDT"].engine.offset == 7
    intake.take([record(trade(4), 9)])
    assert owned.partitions[HOME].position == 9, "a log that has holes is not read twice for each"


def test_a_log_that_goes_back_is_taken_over_again(intake: Intake, owned: Owned, steps: Steps) -> None:
    """The topic was made again under a worker that reads it."""
    for _ in range(2):
        intake.take([record(trade(1), 0)])
    assert [step for step, *_ in steps.taken] == ["read_again", "went_back"]
    assert owned.symbols == {}


@given(streams(), st.data())
def test_batches_and_repeats_make_no_difference(events: list[Event], data: st.DataObject) -> None:
    records = [record(event, offset) for offset, event in enumerate(events)]
    states = []
    for cut_up in (False, True):
        owned = Owned()
        owned.partitions[HOME] = PartitionProgress()
        intake = Intake(owned, EngineParams(), PARTITIONS, Aside(), Steps(), monotonic_ns=lambda: 77)
        start = 0
        while start < len(records):
            size = data.draw(st.integers(1, len(records))) if cut_up else 1
            back = data.draw(st.integers(0, start)) if cut_up else 0
            intake.take(records[start - back : start + size])
            start += size
        states.append(owned.symbols["BTCUSDT"].engine.snapshot())
        assert owned.partitions[HOME].position == len(records) - 1
    assert states[0] == states[1]


@pytest.mark.parametrize("known", [False, True])
def test_a_symbol_in_a_foreign_partition_goes_aside(intake: Intake, owned: Owned, aside: Aside, known: bool) -> None:
    if known:
        intake.take([record(trade(1), 5)])
    intake.take([record(trade(2), 5, partition=(HOME + 1) % PARTITIONS)])
    assert [error.reason for _, error, _ in aside.sent] == ["wrong_partition"]
    assert ("BTCUSDT" in owned.symbols) is known


def test_a_fault_in_the_engine_sets_the_record_aside_and_the_stream_goes_on(
    intake: Intake, owned: Owned, aside: Aside, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = SymbolEngine.apply

    def faulty(self: SymbolEngine, event: Event, offset: int) -> bool:
        if offset == 5:
            raise ZeroDivisionError
        return apply(self, event, offset)

    monkeypatch.setattr(SymbolEngine, "apply", faulty)
    intake.take([record(trade(1), 5), record(trade(2), 6)])
    assert [error.reason for _, error, _ in aside.sent] == ["engine_error"]
    assert owned.symbols["BTCUSDT"].engine.offset == 6


def test_records_of_a_partition_that_is_not_ours_are_left_alone(intake: Intake, owned: Owned) -> None:
    del owned.partitions[HOME]
    intake.take([record(trade(1), 5)])
    assert owned.symbols == {}


def test_nothing_is_applied_while_a_rebalance_is_under_way(intake: Intake, owned: Owned) -> None:
    """The client may have records of the next assignment already, from behind what our state has seen."""
    intake.take([record(trade(1), 5)])
    owned.handed_over = True
    intake.take([record(trade(3), 7)])
    assert owned.symbols["BTCUSDT"].engine.offset == 5
    assert owned.partitions[HOME].position == 5
    owned.handed_over = False
    intake.take([record(trade(2), 6), record(trade(3), 7)])
    assert owned.symbols["BTCUSDT"].engine.offset == 7


def test_names_that_are_not_admitted_go_aside_once_and_the_others_go_on(
    owned: Owned, aside: Aside, steps: Steps
) -> None:
    admission = Admission(owned, ("BTC*",))
    intake = Intake(owned, EngineParams(), PARTITIONS, aside, steps, admission=admission)
    other = next(name for name in (f"X{n}" for n in range(100)) if home_partition(name, PARTITIONS) == HOME)
    refused = [record(trade(number, symbol=other), 5 + number) for number in range(3)]
    intake.take([*refused, record(trade(1), 8)])
    assert [(bad.offset, error.reason) for bad, error, _ in aside.sent] == [(5, "symbol_not_allowed")]
    assert owned.symbols.keys() == {"BTCUSDT"}
    ((_, _, done),) = aside.sent
    done()
    owned.symbols["BTCUSDT"].uncovered = None
    assert owned.committable()[HOME] == 9, "those that are only counted do not hold up commits"


def test_what_a_full_partition_holds_already_goes_on(owned: Owned, aside: Aside, steps: Steps) -> None:
    intake = Intake(owned, EngineParams(), PARTITIONS, aside, steps, admission=Admission(owned, room=1))
    intake.take([record(trade(1), 5)])
    other = next(name for name in (f"X{n}" for n in range(100)) if home_partition(name, PARTITIONS) == HOME)
    intake.take([record(trade(1, symbol=other), 6), record(trade(2), 7)])
    assert [error.reason for _, error, _ in aside.sent] == ["too_many_symbols"]
    assert owned.symbols["BTCUSDT"].engine.offset == 7
