"""The transport against a real broker, held to what a Faust user expects of an agent."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError
from faust.types import TP

from app.transport import FETCH_MAX_WAIT_MS, BatchApp
from support.workers import eventually

PARTITIONS = 4
Handle = Callable[[list[ConsumerRecord]], Awaitable[None]]


class Consumed:
    """An app on the transport, in this process, whose agent hands each batch to `handle`."""

    def __init__(self, kafka: str, name: str, folder: Path, handle: Handle, **options: Any) -> None:
        self.topic = f"{name}.events"
        self.app = BatchApp(
            name,
            batched_topics=[self.topic],
            broker=f"kafka://{kafka}",
            datadir=str(folder),
            autodiscover=False,
            web_enabled=False,
            topic_allow_declare=False,
            topic_disable_leader=True,
            topic_partitions=PARTITIONS,
            consumer_auto_offset_reset="earliest",
            stream_wait_empty=False,
            stream_recovery_delay=0.0,
            broker_session_timeout=1.5,
            broker_heartbeat_interval=0.1,
            **options,
        )
        source = self.app.topic(self.topic, key_type=bytes, key_serializer="raw", value_serializer="raw", acks=False)

        @self.app.agent(source)
        async def agent(stream: Any) -> None:
            async for batch in stream:
                await handle(batch)


@asynccontextmanager
async def consuming(kafka: str, name: str, folder: Path, handle: Handle, **options: Any) -> AsyncIterator[Consumed]:
    """Create the topic, start the app and stop it again."""
    consumed = Consumed(kafka, name, folder, handle, **options)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.create_topics([NewTopic(consumed.topic, PARTITIONS, 1)])
    await admin.close()
    await consumed.app.start()
    try:
        yield consumed
    finally:
        await consumed.app.stop()


async def send(kafka: str, topic: str, count: int, batch_bytes: int = 16_384) -> None:
    async with AIOKafkaProducer(bootstrap_servers=kafka, linger_ms=5, max_batch_size=batch_bytes) as producer:
        for number in range(count):
            await producer.send(topic, str(number).encode(), partition=number % PARTITIONS)


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


async def test_offsets_are_asked_for_once_and_sought(kafka: str, topic_prefix: str, tmp_path: Path) -> None:
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
        consumer.stop_flow()
        found = await consumer.seek_to_committed()
        assert asked == [PARTITIONS]
        assert {tp.partition: offset for tp, offset in found.items()} == {0: 0, 1: 10, 2: 20, 3: 30}
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


async def test_a_takeover_of_more_than_a_session_is_no_hang(kafka: str, topic_prefix: str, tmp_path: Path) -> None:
    """Many symbols are restored in one go, in which the worker's loop does not turn."""

    async def ignore(_: list[ConsumerRecord]) -> None:
        pass

    async with consuming(kafka, topic_prefix, tmp_path, ignore) as consumed:
        consumer, taken_over = consumed.app.consumer, asyncio.Event()

        async def joined() -> bool:
            return bool(consumer.membership.generation > 0 and not consumed.app.rebalancing)

        await eventually(joined, "the group is joined")
        before, coordinator = consumer.membership, consumer._thread._consumer._coordinator
        heartbeat, answers = coordinator._do_heartbeat, []

        async def listening() -> bool:
            answers.append(await heartbeat())
            return bool(answers[-1])

        coordinator._do_heartbeat = listening

        @consumed.app.on_rebalance_complete.connect
        async def restore(_: Any, **__: Any) -> None:
            time.sleep(2 * consumed.app.conf.broker_session_timeout)  # noqa: ASYNC251  # so that the loop does not turn
            answers.clear()
            taken_over.set()

        await consumer._thread.call_thread(coordinator.request_rejoin)
        await asyncio.wait_for(taken_over.wait(), 30)

        async def answered() -> bool:
            return len(answers) > 1

        await eventually(answered, "heartbeats are answered")
        assert all(answers)
        assert consumer.membership == before._replace(generation=before.generation + 1)


async def test_a_member_whose_heartbeat_met_an_unexpected_error_joins_again(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    """A coordinator that still loads after a restart answers so; aiokafka then waits for a poll that never comes."""
    seen: list[int] = []

    async def note(batch: list[ConsumerRecord]) -> None:
        seen.append(len(batch))

    async with consuming(kafka, topic_prefix, tmp_path, note) as consumed:

        async def joined() -> bool:
            return bool(consumed.app.consumer.membership.generation > 0)

        await eventually(joined, "the group is joined")
        coordinator = consumed.app.consumer._thread._consumer._coordinator
        heartbeat, before = coordinator._do_heartbeat, consumed.app.consumer.membership.generation

        async def fail() -> bool:
            coordinator._do_heartbeat = heartbeat
            raise KafkaError("Unexpected exception in heartbeat task: GroupLoadInProgressError()")

        coordinator._do_heartbeat = fail

        async def joined_again() -> bool:
            return bool(consumed.app.consumer.membership.generation > before)

        await eventually(joined_again, "the group is joined again", limit_sec=20)
        await send(kafka, consumed.topic, 40)

        async def all_there() -> bool:
            return sum(seen) >= 40

        await eventually(all_there, "all records")
