"""What the transport does around a rebalance, step by step; each test fails without one of its cures.

The numbers are those of the causes in docs/adr/0006-batch-transport.md.
"""

import gc
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from app.transport import BatchApp, Consumer
from tables.snapshots import SnapshotTable
from tables.store import STORE_URL

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
            store=STORE_URL,
            autodiscover=False,
            web_enabled=False,
            topic_partitions=PARTITIONS,
        )
        self.table = SnapshotTable(self.app, PARTITIONS)
        self.steps: list[str] = []
        self.committed: list[Mapping[TP, int]] = []
        self.consumer: Consumer = self.app.consumer
        self.consumer._thread.thread_loop.close()
        thread: Any = SimpleNamespace(
            assignment=lambda: {EVENTS, OTHER_EVENTS, CHANGELOG}, seek_to_committed=self._seek, commit=self._commit
        )
        self.consumer._thread = thread
        self.consumer._active_partitions = set()

    async def _seek(self) -> dict[TP, int]:
        self.steps.append("seek")
        return {EVENTS: 5, OTHER_EVENTS: 7}

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


async def test_streams_resume_only_after_they_were_sought(offline: Offline) -> None:
    """Cause 3: what is fetched between resume and seek is thrown away with the agents' queues."""
    offline.app.rebalancing = True
    offline.consumer.resume_partitions({EVENTS, CHANGELOG})
    assert offline.active == {CHANGELOG}, "recovery reads its changelog at once"
    offline.consumer.resume_flow()
    assert offline.active == {CHANGELOG}, "not before the seek"
    await offline.consumer.perform_seek()
    assert offline.active == {CHANGELOG}
    offline.consumer.resume_flow()
    assert offline.active == {EVENTS, CHANGELOG}
    assert offline.consumer._read_offset[EVENTS] == 5


async def test_a_second_rebalance_does_not_resume_what_waited_in_the_first(offline: Offline) -> None:
    offline.app.rebalancing = True
    offline.consumer.resume_partitions({EVENTS})
    await offline.consumer.on_partitions_revoked({EVENTS})
    await offline.consumer.perform_seek()
    offline.consumer.resume_flow()
    assert EVENTS not in offline.active


async def test_outside_a_rebalance_streams_resume_at_once(offline: Offline) -> None:
    offline.consumer.resume_partitions({EVENTS})
    assert offline.active == {EVENTS}


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


async def test_databases_are_open_before_the_worker_joins_and_stay_open(offline: Offline) -> None:
    """Cause 4: closing, collecting garbage and opening again cost 65 to 156 ms of a rebalance."""
    store = offline.table._table.data
    frozen = gc.get_freeze_count()
    try:
        await store.on_start()
        assert gc.get_freeze_count() > frozen
        opened = dict(store._dbs)
        assert sorted(opened) == list(range(PARTITIONS))
        store.revoke_partitions(offline.table._table, {TP(offline.table.changelog_topic, 0)})
        assert all(store._dbs[partition] is opened[partition] for partition in opened)
    finally:
        gc.unfreeze()
        await store.stop()


async def test_a_standby_writes_at_once(offline: Offline) -> None:
    """Cause 8: by default it waits for a thousand records, and is that far behind when it is needed."""
    assert offline.table._table.standby_buffer_size == 1


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
