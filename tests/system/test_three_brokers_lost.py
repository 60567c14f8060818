"""Brokers are lost under a system at work: readers wait for seconds, and nothing is lost.

Measured is the longest time that any of ten symbols was without a report, and without one of fresh data. For one of
three brokers, whichever, it must be 10 s at most, and ought to be 3.
"""

import asyncio
import time
from collections.abc import Iterator

import pytest

from support.telling import Tell
from support.three_brokers import ThreeBrokers
from support.workers import eventually

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]

MUST_SEC = 10.0
TIMES = 5


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, kafka: str) -> Iterator[ThreeBrokers]:
    """Give the running system; every broker and worker runs when a test begins."""
    assert kafka, "the machine can run Kafka"
    with ThreeBrokers.running(tmp_path_factory.mktemp("three-brokers")) as running:
        yield running


@pytest.fixture(autouse=True)
def _whole(system: ThreeBrokers) -> None:
    system.kafka.start()
    system.settled()


def lose(system: ThreeBrokers, who: str, gaps: list[tuple[float, float]]) -> None:
    """Kill a broker, wait until all is fresh, then bring it back."""
    victim = system.find(who)
    with system.measured(gaps):
        victim.kill()
    victim.start()
    system.fresh()


def told(gaps: list[tuple[float, float]]) -> str:
    reports, data = (sorted(each) for each in zip(*gaps, strict=True))
    middle = data[len(data) // 2]
    return f"longest gap of reports {reports[-1]:.2f} s, of fresh data {middle:.2f}/{data[-1]:.2f} s (P50/worst)"


def test_the_leader_of_partitions_is_killed(system: ThreeBrokers, tell: Tell) -> None:
    gaps: list[tuple[float, float]] = []
    lose(system, "leader", gaps)
    tell(f"kill -9 of a leader: {told(gaps)}")
    system.nothing_is_lost()


@pytest.mark.long
@pytest.mark.parametrize("who", ["leader", "coordinator", "controller"])
def test_one_of_three_is_killed_again_and_again(system: ThreeBrokers, who: str, tell: Tell) -> None:
    gaps: list[tuple[float, float]] = []
    for _ in range(TIMES):
        lose(system, who, gaps)
    tell(f"kill -9 of the {who}, {TIMES} times: {told(gaps)}")
    system.nothing_is_lost()
    assert max(data for _, data in gaps) <= MUST_SEC


@pytest.mark.long
@pytest.mark.parametrize("who", ["leader", "coordinator", "controller"])
def test_one_of_three_hangs(system: ThreeBrokers, who: str, tell: Tell) -> None:
    gaps: list[tuple[float, float]] = []
    victim = system.find(who)
    with system.measured(gaps), victim.process.frozen():
        time.sleep(20)
    tell(f"the {who} hangs for 20 s: {told(gaps)}")
    system.nothing_is_lost()
    assert max(data for _, data in gaps) <= MUST_SEC


@pytest.mark.long
def test_two_of_three_are_away_for_half_a_minute(system: ThreeBrokers, tell: Tell) -> None:
    """Without a majority nothing can be written, and a group that was just changing hands has to wait."""
    gaps: list[tuple[float, float]] = []
    first, second = system.kafka.brokers[:2]
    with system.measured(gaps):
        first.kill()
        second.kill()
        time.sleep(30)
        back = time.monotonic()
        system.kafka.start()
        system.fresh()
        tell(f"two brokers away for 30 s: fresh {time.monotonic() - back:.1f} s after their start was asked for")
    tell(f"two brokers away for 30 s: {told(gaps)}")
    system.nothing_is_lost()


@pytest.mark.long
def test_a_worker_and_the_leader_of_its_partition_are_killed_together(system: ThreeBrokers, tell: Tell) -> None:
    gaps: list[tuple[float, float]] = []
    for number in range(TIMES):
        worker, victim = system.ground.workers[number % 3], system.find("leader")
        with system.measured(gaps):
            worker.crash()
            victim.kill()
        worker.kill()
        worker.start()
        victim.start()
        system.fresh()
    tell(f"a worker and a leader together, {TIMES} times: {told(gaps)}")
    system.nothing_is_lost()
    assert max(data for _, data in gaps) <= MUST_SEC + 2


@pytest.mark.long
def test_a_rolling_restart_of_all_brokers(system: ThreeBrokers, tell: Tell) -> None:
    gaps: list[tuple[float, float]] = []
    for broker in system.kafka.brokers:
        with system.measured(gaps):
            broker.stop()
            broker.start()
        # As whoever restarts brokers one by one does: the next one goes when this one has all again.
        asyncio.run(eventually(system.kafka.all_in_sync, "every copy is in sync"))
    tell(f"rolling restart: {told(gaps)}")
    system.nothing_is_lost()
    assert max(data for _, data in gaps) <= MUST_SEC
