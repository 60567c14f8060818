"""Two producers of one symbol are noticed; what is read or sent again is not taken for that."""

import logging
from collections.abc import Iterable
from typing import Any
from unittest.mock import Mock

import pytest

from agents.admission import Admission
from agents.intake import Intake
from agents.owned import Owned, PartitionProgress
from agents.repeats import FORGET_SEC, LASTING_SEC, Repeats
from app import telemetry
from app.microstructure.engine import EngineParams
from app.microstructure.events import Event
from app.worker_health import Problem, WorkerHealth
from support.markets import SECOND, START, deltas, snapshot, trade
from support.records import PARTITIONS, Steps, record


class Worker:
    """Takes events in, and looks once a second."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.backlog = False
        self.owned = Owned()
        self.owned.partitions = {each: PartitionProgress(position=-1) for each in range(PARTITIONS)}
        self.intake = Intake(self.owned, EngineParams(), PARTITIONS, Mock(), Steps())
        self.repeats = Repeats(self.owned, lambda: self.backlog, lambda: self.now)
        self.offset = 0

    def take(self, events: Iterable[Event]) -> None:
        for event in events:
            self.intake.take([record(event, self.offset)])
            self.offset += 1

    def second(self, events: Iterable[Event]) -> None:
        self.take(events)
        self.now += 1
        self.repeats.look()

    def problems(self) -> list[Problem]:
        names = (
            *("app", "store", "ownership", "reports", "checkpoints", "follower", "source", "dead_letters", "leaver"),
            "topic_changes",
        )
        # Of all its parts it asks three about symbols.
        owned = Owned()
        asked = {"owned": owned, "repeats": self.repeats, "admission": Admission(owned)}
        parts: dict[str, Any] = {name: Mock() for name in names} | asked
        return list(WorkerHealth(**parts, snapshot_sec=1.0)._symbols())


def market(second: int) -> list[Event]:
    """Ten trades and ten diffs of one second."""
    at, first = START + second * SECOND, 10 * second + 1
    return [
        event
        for number in range(10)
        for event in (
            trade(first + number, at=at + number * SECOND // 10),
            deltas(1000 + first + number, 1000 + first + number, [(99.0, 1.0 + number)], at=at + number * SECOND // 10),
        )
    ]


def begin(worker: Worker) -> None:
    worker.second([snapshot(1000, [(99.0, 1.0)], [(101.0, 1.0)])])


def test_two_producers_are_a_problem_once_it_lasts_and_do_not_make_the_worker_unready() -> None:
    worker = Worker()
    begin(worker)
    late: list[Event] = []
    for second in range(15):
        ours = market(second)
        worker.second([event for pair in zip(ours, late or ours, strict=True) for event in pair])
        late = ours
        assert bool(worker.repeats.lasting()) == (second >= LASTING_SEC)
    assert worker.problems() == [
        Problem("repeats", "events of BTCUSDT have come twice for 14 s: do two producers write them?", blocking=False)
    ]


def test_it_is_over_when_nothing_has_come_twice_for_a_while() -> None:
    worker = Worker()
    begin(worker)
    for second in range(15):
        worker.second(market(second) * 2)
    for second in range(15, 15 + int(FORGET_SEC) + 1):
        assert worker.repeats.lasting()
        worker.second(market(second))
    assert worker.repeats.lasting() == {}
    assert worker.problems() == []


def test_a_batch_that_is_sent_again_is_no_second_producer() -> None:
    worker = Worker()
    begin(worker)
    for second in range(20):
        worker.second(market(second) * (2 if second in (3, 12) else 1))
    assert worker.repeats.lasting() == {}


def test_what_is_read_again_after_a_takeover_is_not_counted() -> None:
    worker = Worker()
    begin(worker)
    for second in range(15):
        worker.take(market(second))
        worker.offset -= 20
        worker.owned.partitions = {each: PartitionProgress(position=worker.offset - 1) for each in range(PARTITIONS)}
        worker.second(market(second))
    assert worker.owned.symbols["BTCUSDT"].engine.repeated == 0
    assert worker.repeats.lasting() == {}


def test_nothing_is_counted_while_events_wait_in_the_topic() -> None:
    worker = Worker()
    worker.backlog = True
    begin(worker)
    for second in range(15):
        worker.second(market(second) * 2)
    worker.backlog = False
    for second in range(15, 30):
        worker.second(market(second))
    assert worker.repeats.lasting() == {}


def test_both_are_counted_for_prometheus_and_a_new_count_of_ids_is_said(caplog: pytest.LogCaptureFixture) -> None:
    worker = Worker()
    begin(worker)
    repeated = telemetry.SERIES.of(telemetry.REPEATED, "BTCUSDT")
    again = telemetry.SERIES.of(telemetry.IDS_BEGAN_AGAIN, "BTCUSDT")
    before = repeated._value.get(), again._value.get()
    worker.second(market(0) * 2)
    with caplog.at_level(logging.WARNING):
        worker.second([trade(number, at=START + 5 * SECOND + number) for number in range(1, 4)])
    assert (repeated._value.get() - before[0], again._value.get() - before[1]) == (20, 1)
    assert "trade ids begin again" in caplog.text
