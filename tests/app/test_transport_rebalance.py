"""What the transport does around a rebalance, step by step; each test fails without one of its cures.

The numbers are those of the causes in docs/adr/0006-batch-transport.md.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError
from faust.types import TP

from app.membership import Membership
from app.recovery import Assigned
from app.transport import BatchApp, Consumer
from tables.database import Database
from tables.snapshots import SnapshotTable

EVENTS, OTHER_EVENTS, CHANGELOG = TP("events", 0), TP("events", 1), TP("group-snapshots-changelog", 0)
PARTITIONS = 4


class Offline:
    """A consumer whose thread is a stub; `steps` is what was done, in order."""

    def __init__(self, folder: Path) -> None:
        self.app = BatchApp(
            "group",
            batched_topics=["events"],
            broker="kafka://127.0.0.1:1",
            datadir=str(folder),
            autodiscover=False,
            web_enabled=False,
            topic_partitions=PARTITIONS,
        )
        self.table = SnapshotTable(self.app, self.app.publish, PARTITIONS, Database(folder / "snapshots"))
        self.steps: list[str] = []
        self.committed: list[Mapping[TP, int]] = []
        self.sought: dict[TP, int] = {}
        self.consumer: Consumer = self.app.consumer
        self.consumer._thread.thread_loop.close()
        thread: Any = SimpleNamespace(
            assignment=lambda: {EVENTS, OTHER_EVENTS, CHANGELOG}, seek_all=self._seek, commit=self._commit
        )
        self.consumer._thread = thread
        self.consumer._active_partitions = set()

    async def _seek(self, offsets: Mapping[TP, int]) -> None:
        self.steps.append("seek")
        self.sought = dict(offsets)

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        self.steps.append("commit")
        self.committed.append(offsets)
        return True

    @property
    def active(self) -> set[TP]:
        return set(self.consumer._get_active_partitions())


@pytest.fixture
async def offline(tmp_path: Path) -> Offline:
    return Offline(tmp_path)


class Round:
    """A takeover that waits until it is let go."""

    def __init__(self, offline: Offline) -> None:
        self.offline = offline
        self.began, self.go_on = asyncio.Event(), asyncio.Event()
        offline.app.take_over = self._take_over
        offline.app.rebalancing = True
        offline.app.assignor.assigned_actives = lambda: {CHANGELOG}
        offline.app.assignor.assigned_standbys = set
        offline.app._fetcher.maybe_start = _nothing

    async def _take_over(self, assigned: Assigned) -> Mapping[TP, int]:
        self.assigned = assigned
        self.began.set()
        await self.go_on.wait()
        self.offline.steps.append("taken over")
        return {EVENTS: 5, OTHER_EVENTS: 7}

    async def begin(self) -> None:
        assigned = {EVENTS, OTHER_EVENTS, CHANGELOG}
        self.offline.consumer.stop_flow()
        self.offline.consumer.pause_partitions(assigned)
        await self.offline.app.tables.recovery.on_rebalance(assigned, set(), assigned, 1)
        await self.began.wait()

    async def end(self) -> None:
        task = self.offline.app.tables.recovery.task
        assert task is not None
        self.go_on.set()
        await task


async def _nothing() -> None:
    pass


async def test_streams_resume_only_after_they_were_sought_to_where_their_states_go_on(offline: Offline) -> None:
    """Cause 3: what is fetched between resume and seek is thrown away with the agents' queues."""
    turn = Round(offline)
    await turn.begin()
    assert offline.active == set()
    assert not offline.consumer.flow_active
    await turn.end()
    assert offline.steps == ["taken over", "seek"]
    assert offline.sought == {EVENTS: 5, OTHER_EVENTS: 7}
    assert offline.active == {EVENTS, OTHER_EVENTS}, "the changelog is read by others"
    assert offline.consumer.flow_active
    assert not offline.app.rebalancing


async def test_a_round_whose_partitions_were_revoked_opens_nothing(offline: Offline) -> None:
    """Faust lets it finish, and what it lets through reaches the state of the next assignment."""
    turn = Round(offline)
    await turn.begin()
    await offline.consumer.on_partitions_revoked(offline.consumer._thread.assignment())
    turn.go_on.set()
    for _ in range(10):
        await asyncio.sleep(0)
    assert offline.steps == []
    assert not offline.consumer.flow_active
    assert offline.app.rebalancing


async def test_the_next_assignment_ends_the_round_of_the_last(offline: Offline) -> None:
    first, second = Round(offline), Round(offline)
    offline.app.take_over = first._take_over
    await first.begin()
    offline.app.take_over = second._take_over
    await second.begin()
    first.go_on.set()
    await second.end()
    assert offline.steps == ["taken over", "seek"], "of the second alone"


async def test_a_takeover_that_fails_for_want_of_a_broker_is_tried_again(offline: Offline) -> None:
    turn = Round(offline)

    async def fail_once(assigned: Assigned) -> Mapping[TP, int]:
        offline.app.take_over = turn._take_over
        raise KafkaConnectionError("broker away")

    offline.app.take_over = fail_once
    await turn.begin()
    await turn.end()
    assert offline.steps == ["taken over", "seek"]


async def test_a_round_knows_as_whom_the_group_gave_it_its_partitions(offline: Offline) -> None:
    turn = Round(offline)
    offline.consumer.membership = Membership("me", 7)
    await turn.begin()
    sources = frozenset({EVENTS, OTHER_EVENTS})
    assert turn.assigned == Assigned(Membership("me", 7), sources, frozenset({CHANGELOG}), frozenset())


async def test_a_fetch_that_ends_while_nothing_flows_moves_no_position(offline: Offline) -> None:
    """Faust would seek to the committed offsets, which may be ahead of where states go on."""
    await offline.consumer.perform_seek()
    assert offline.steps == []


async def test_waiting_for_partitions_is_no_blind_second(offline: Offline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cause 2."""
    slept: list[float] = []

    async def note(seconds: float, *_: Any) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            offline.consumer._active_partitions = {EVENTS}

    async def fetch(active: set[TP] | None, _: float) -> Mapping[TP, list[Any]]:
        return {}

    monkeypatch.setattr("app.transport.asyncio.sleep", note)
    monkeypatch.setattr(offline.consumer, "sleep", note)
    monkeypatch.setattr(offline.consumer, "_getmany", fetch)
    offline.consumer.resume_flow()
    await offline.consumer._wait_next_records(1.0)
    assert len(slept) == 3
    assert max(slept) < 0.05


async def test_a_fetch_keeps_the_partitions_it_began_with(offline: Offline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cause 3: aiokafka reads a set that became empty as "all partitions"."""
    asked: list[set[TP] | None] = []

    async def fetch(active: set[TP] | None, _: float) -> Mapping[TP, list[Any]]:
        offline.consumer.pause_partitions({EVENTS})
        asked.append(active)
        return {}

    monkeypatch.setattr(offline.consumer, "_getmany", fetch)
    offline.consumer.resume_partitions({EVENTS})
    offline.consumer.resume_flow()
    await offline.consumer._wait_next_records(1.0)
    assert asked == [{EVENTS}]


async def test_the_worker_saves_while_partitions_are_still_its_own(offline: Offline) -> None:
    """Cause 5: without waiting for empty streams Faust commits nothing when partitions go."""

    async def save() -> None:
        assert not offline.consumer.flow_active, "nothing flows any more"
        offline.steps.append("save")

    offline.app.before_revoke = save
    offline.consumer.resume_flow()
    await offline.consumer.on_partitions_revoked({EVENTS})
    assert offline.steps[0] == "save"


async def test_records_stop_also_for_a_member_that_the_group_has_expelled(offline: Offline) -> None:
    """Its client has no assignment any more, but may still have records."""

    async def save() -> None:
        offline.steps.append("save")

    offline.app.before_revoke = save
    offline.consumer._thread.assignment = set
    offline.consumer.resume_flow()
    await offline.consumer.on_partitions_revoked(set())
    assert offline.steps == ["save"]
    assert not offline.consumer.flow_active
