"""The transport against a real broker, held to what a Faust user expects of an agent."""

import asyncio
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import UnknownTopicOrPartitionError
from faust.types import TP

from app.transport import FETCH_MAX_WAIT_MS
from support.consuming import PARTITIONS, Consumed, consuming, send
from support.workers import eventually

pytestmark = pytest.mark.stack


async def test_every_record_of_a_partition_comes_once_and_in_order(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    offsets: dict[int, list[int]] = defaultdict(list)
    batches: list[int] = []

    async def note(batch: list[ConsumerRecord]) -> None:
        batches.append(len(batch))
        assert len({record.partition for record in batch}) == 1
        offsets[batch[0].partition] += [record.offset for record in batch]

    async def all_there() -> bool:
        return sum(map(len, offsets.values())) >= 8000

    async with consuming(kafka, topic_prefix, tmp_path, note) as consumed:
        await send(kafka, consumed.topic, 8000)
        await eventually(all_there, "all records")
    assert offsets == {partition: list(range(2000)) for partition in range(PARTITIONS)}
    assert len(batches) < 4000, "records come in batches"


async def committed(consumed: Consumed) -> dict[int, int]:
    consumer = consumed.app.consumer._thread._consumer
    tps = [TopicPartition(consumed.topic, partition) for partition in range(PARTITIONS)]
    found = await consumed.app.consumer._thread.call_thread(consumer._coordinator.fetch_committed_offsets, tps)
    return {tp.partition: each.offset for tp, each in found.items() if each.offset >= 0}


async def test_nothing_is_committed_but_what_the_worker_commits(kafka: str, topic_prefix: str, tmp_path: Path) -> None:
    """Faust's own commits would count the offsets within a batch as done as soon as it is fetched."""
    seen: list[int] = []

    async def note(batch: list[ConsumerRecord]) -> None:
        seen.append(len(batch))

    async def all_there() -> bool:
        return sum(seen) >= 400

    async with consuming(kafka, topic_prefix, tmp_path, note, broker_commit_interval=0.05) as consumed:
        await send(kafka, consumed.topic, 400)
        await eventually(all_there, "all records")
        await consumed.app.consumer.commit()
        assert await committed(consumed) == {}
        consumer = consumed.app.consumer
        assert await consumer.commit_source({TP(consumed.topic, 2): 7}, consumer.membership)
        assert await committed(consumed) == {2: 7}


async def test_a_slow_agent_holds_the_consumer_back(kafka: str, topic_prefix: str, tmp_path: Path) -> None:
    go_on = asyncio.Event()
    taken: list[ConsumerRecord] = []

    async def wait(batch: list[ConsumerRecord]) -> None:
        await go_on.wait()
        taken.extend(batch)

    limits = {"stream_buffer_maxsize": 2, "consumer_max_fetch_size": 1024}
    async with consuming(kafka, topic_prefix, tmp_path, wait, **limits) as stalled:
        fetched: list[int] = []
        getmany = stalled.app.consumer._getmany

        async def counting(active: Any, timeout: float) -> Any:  # noqa: ASYNC109
            records = await getmany(active, timeout)
            fetched.extend(len(batch.value) for batches in records.values() for batch in batches)
            return records

        stalled.app.consumer._getmany = counting
        await send(kafka, stalled.topic, 4000, batch_bytes=512)
        # All that may be underway: the queue, the batch in the agent's hands, and those of one fetch.
        quiet_since = time.monotonic()
        while not fetched or time.monotonic() < quiet_since + 0.5:
            known = len(fetched)
            await asyncio.sleep(0.02)
            quiet_since = quiet_since if len(fetched) == known else time.monotonic()
        assert 0 < sum(fetched) < 2000
        go_on.set()

        async def all_there() -> bool:
            return len(taken) >= 4000

        await eventually(all_there, "all records")
    assert len(taken) == 4000


async def test_what_the_group_knows_is_asked_for_at_once_and_records_go_on_where_they_are_sought(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    async def ignore(_: list[ConsumerRecord]) -> None:
        pass

    async with consuming(kafka, topic_prefix, tmp_path, ignore) as consumed:
        await send(kafka, consumed.topic, 400)
        consumer = consumed.app.consumer
        offsets = {TP(consumed.topic, partition): 10 * partition for partition in range(PARTITIONS)}
        await consumer.commit_source(offsets, consumer.membership)
        coordinator = consumer._thread._consumer._coordinator
        fetch, asked = coordinator.fetch_committed_offsets, []

        async def counting(partitions: list[TopicPartition]) -> Any:
            asked.append(len(partitions))
            return await fetch(partitions)

        coordinator.fetch_committed_offsets = counting
        found = await consumer.logs(set(offsets))
        assert asked == [PARTITIONS]
        assert {tp: committed for tp, (_, _, committed) in found.items()} == offsets
        assert sum(end - begin for begin, end, _ in found.values()) == 400
        consumer.stop_flow()
        await consumer.go_on_from(offsets)
        assert {tp: await consumer.position(tp) for tp in offsets} == offsets
        consumer.resume_flow()


async def test_a_fetch_never_waits_long_for_a_quiet_topic(kafka: str, topic_prefix: str, tmp_path: Path) -> None:
    """One fetch per broker is in flight: while it waits for one topic, all others wait as well."""

    async def ignore(_: list[ConsumerRecord]) -> None:
        pass

    async with consuming(kafka, topic_prefix, tmp_path, ignore) as consumed:
        consumer = consumed.app.consumer._thread._consumer
        assert consumer._fetcher._prefetch_backoff <= 0.01, "nor pauses long between two"
        client = consumer._client
        send_request, waits = client.send, []

        async def watching(node: int, request: Any, **options: Any) -> Any:
            if type(request).__name__.startswith("FetchRequest"):
                waits.append(request._max_wait_ms)
            return await send_request(node, request, **options)

        client.send = watching

        async def some() -> bool:
            return len(waits) > 3

        await eventually(some, "fetches")
    assert set(waits) == {FETCH_MAX_WAIT_MS}


async def test_an_agent_that_fails_stops_the_worker_and_nothing_is_committed_for_its_batch(
    kafka: str, topic_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signals: list[int] = []
    monkeypatch.setattr("app.transport.os.kill", lambda _, number: signals.append(number))

    async def fail(_: list[ConsumerRecord]) -> None:
        raise ValueError("a bug")

    async def stopping() -> bool:
        return bool(signals)

    async with consuming(kafka, topic_prefix, tmp_path, fail) as consumed:
        await send(kafka, consumed.topic, 10)
        await eventually(stopping, "the worker is told to stop")
        assert "ValueError('a bug')" in str(consumed.app.failure)
        assert await committed(consumed) == {}


async def test_what_was_reckoned_as_another_member_or_generation_is_not_committed(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    """A worker that lost its partitions and got them back must not commit what it knew before."""
    seen: list[int] = []

    async def note(batch: list[ConsumerRecord]) -> None:
        seen.append(len(batch))

    async def all_there() -> bool:
        return sum(seen) >= 40

    async with consuming(kafka, topic_prefix, tmp_path, note) as consumed:
        await send(kafka, consumed.topic, 40)
        await eventually(all_there, "all records")
        consumer, tp = consumed.app.consumer, TP(consumed.topic, 1)
        now = consumer.membership
        for other in (now._replace(generation=now.generation - 1), now._replace(member_id="somebody else")):
            assert not await consumer.commit_source({tp: 5}, other)
        assert await committed(consumed) == {}
        assert await consumer.commit_source({tp: 5}, now)
        assert not await consumer.commit_source({tp: 5}, now), "nothing new"
        assert await consumer.commit_source({tp: 3}, now, confirm=[tp]), "the group says that it is ours"
        assert await committed(consumed) == {1: 5}, "and goes back for nobody"


async def test_what_cannot_be_sent_is_an_error_of_its_sender_alone(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    """By Faust's buffer it ends the worker: a broker that has just come up knows no topic for a moment."""
    seen: list[int] = []

    async def note(batch: list[ConsumerRecord]) -> None:
        seen.extend(record.offset for record in batch)

    async with consuming(kafka, topic_prefix, tmp_path, note) as consumed:
        with pytest.raises(UnknownTopicOrPartitionError):
            await consumed.app.publish(f"{topic_prefix}-absent", 0, [(b"k", b"v")])
        await consumed.app.publish(consumed.topic, 0, [(b"k", b"1"), (b"k", b"2")])

        async def read() -> bool:
            return len(seen) == 2

        await eventually(read, "both records came back")
        assert not consumed.app.crashed
