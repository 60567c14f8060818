"""The follower on a real changelog: its copy is what the log holds, whatever becomes of log and connection."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from functools import partial
from operator import attrgetter
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.client import AIOKafkaClient

from app.topic_watch import TopicWatch
from support.workers import eventually
from tables.database import Database, DatabaseError
from tables.follower import Follower

pytestmark = pytest.mark.stack

PARTITIONS = 2


class Changelog:
    """A topic that is written to from outside."""

    def __init__(self, brokers: str, topic: str) -> None:
        self.brokers = brokers
        self.topic = topic

    async def create(self) -> None:
        admin = await self._admin()
        await admin.create_topics([NewTopic(self.topic, PARTITIONS, 1)])
        await admin.close()

    async def make_again(self) -> None:
        admin = await self._admin()
        await admin.delete_topics([self.topic])

        async def gone() -> bool:
            return self.topic not in await admin.list_topics()

        await eventually(gone, "the topic is deleted")
        await admin.close()
        await self.create()

    async def delete_before(self, partition: int, offset: int) -> None:
        admin = await self._admin()
        await admin.delete_records({TopicPartition(self.topic, partition): RecordsToDelete(offset)})
        await admin.close()

    async def write(self, partition: int, values: Mapping[bytes, bytes | None]) -> None:
        async with AIOKafkaProducer(bootstrap_servers=self.brokers) as producer:
            for key, value in values.items():
                await producer.send_and_wait(self.topic, value, key=key, partition=partition)

    async def _admin(self) -> AIOKafkaAdminClient:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.brokers)
        await admin.start()
        return admin


@pytest.fixture
async def changelog(kafka: str, topic_prefix: str) -> Changelog:
    made = Changelog(kafka, topic_prefix)
    await made.create()
    return made


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database(tmp_path / "snapshots")
    opened.open()
    yield opened
    opened.close()


@pytest.fixture
async def follower(changelog: Changelog, database: Database) -> AsyncIterator[Follower]:
    watch = TopicWatch(lambda: AIOKafkaClient(bootstrap_servers=changelog.brokers), changelog.topic)
    client = partial(AIOKafkaConsumer, bootstrap_servers=changelog.brokers)
    made = Follower(changelog.topic, database, client, partial(watch.log_of, changelog.topic))
    made.start()
    yield made
    await made.stop()
    await watch.close()


async def test_the_copy_is_what_the_log_holds(changelog: Changelog, database: Database, follower: Follower) -> None:
    await changelog.write(0, {b"a": b"1", b"b": b"2", b"c": b"3"})
    await changelog.write(1, {b"d": b"4"})
    follower.follow([0, 1])
    await follower.caught_up([0, 1])
    assert (dict(database.items(0)), dict(database.items(1))) == ({b"a": b"1", b"b": b"2", b"c": b"3"}, {b"d": b"4"})
    await changelog.write(0, {b"a": b"5", b"b": None})
    await follower.caught_up([0])
    assert dict(database.items(0)) == {b"a": b"5", b"c": b"3"}
    assert database.position(0).offset == 5


async def test_a_partition_that_is_followed_later_goes_on_where_its_copy_ended(
    changelog: Changelog, database: Database, follower: Follower
) -> None:
    await changelog.write(0, {b"a": b"1"})
    follower.follow([0])
    await follower.caught_up([0])
    follower.follow([1])
    await changelog.write(0, {b"a": b"2", b"b": b"2"})
    await changelog.write(1, {b"d": b"4"})
    await follower.caught_up([1])
    assert dict(database.items(0)) == {b"a": b"1"}, "nobody asked for it meanwhile"
    follower.follow([0, 1])
    await follower.caught_up([0, 1])
    assert dict(database.items(0)) == {b"a": b"2", b"b": b"2"}


async def test_a_log_that_was_made_again_takes_the_place_of_the_old_one(
    changelog: Changelog, database: Database, follower: Follower, caplog: pytest.LogCaptureFixture
) -> None:
    """Also one that has grown past the old position, where no offset could tell."""
    await changelog.write(0, {b"old": b"1"})
    follower.follow([0])
    await follower.caught_up([0])
    before = database.position(0)
    await follower.stop()
    await changelog.make_again()
    await changelog.write(0, {b"a": b"1", b"b": b"2", b"c": b"3"})
    follower.start()
    await follower.caught_up([0])
    assert dict(database.items(0)) == {b"a": b"1", b"b": b"2", b"c": b"3"}
    assert database.position(0).log != before.log
    assert "is another log than the one that the data folder knows" in caplog.text


async def test_a_log_that_is_made_again_under_it_is_followed(
    changelog: Changelog, database: Database, follower: Follower
) -> None:
    await changelog.write(0, {b"old": b"1", b"older": b"2"})
    follower.follow([0])
    await follower.caught_up([0])
    await changelog.make_again()
    follower.other_log()
    await changelog.write(0, {b"new": b"1"})

    async def followed() -> bool:
        return dict(database.items(0)) == {b"new": b"1"}

    await eventually(followed, "the copy is that of the new log")


async def test_what_the_log_no_longer_has_is_begun_again_where_it_begins(
    changelog: Changelog, database: Database, follower: Follower
) -> None:
    await changelog.write(0, {b"a": b"1", b"b": b"2"})
    follower.follow([0])
    await follower.caught_up([0])
    await follower.stop()
    await changelog.write(0, {b"c": b"3", b"d": b"4", b"e": b"5"})
    await changelog.delete_before(0, 4)
    follower.start()
    await follower.caught_up([0])
    assert dict(database.items(0)) == {b"e": b"5"}, "a copy with a hole is no copy"


async def test_a_copy_that_lacks_something_is_read_again_from_the_start(
    changelog: Changelog, database: Database, follower: Follower
) -> None:
    await changelog.write(0, {b"a": b"1", b"b": b"2"})
    follower.follow([0])
    await follower.caught_up([0])
    database.apply(0, 2, {b"a": None}, 2)  # as a hole of an older version would have left it
    follower.read_again(0)
    await follower.caught_up([0])
    assert dict(database.items(0)) == {b"a": b"1", b"b": b"2"}


async def test_a_fault_that_nobody_has_thought_of_is_followed_by_another_attempt(
    changelog: Changelog, database: Database, follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    await changelog.write(0, {b"a": b"1"})
    follower.follow([0])
    await follower.caught_up([0])
    take, faults = follower._take, [RuntimeError("the handler is closed"), ZeroDivisionError(), KeyError("x")]

    async def faulty(consumer: AIOKafkaConsumer) -> None:
        if faults:
            raise faults.pop()
        await take(consumer)

    async def all_met() -> bool:
        return not faults

    monkeypatch.setattr(follower, "_take", faulty)
    await eventually(all_met, "each fault was met")
    await changelog.write(0, {b"b": b"2"})
    await asyncio.wait_for(follower.caught_up([0]), 20)
    assert dict(database.items(0)) == {b"a": b"1", b"b": b"2"}
    assert follower.failure is None


@pytest.mark.parametrize("part", ["_fetcher._fetch_task", "_client._sync_task"])
async def test_a_consumer_in_which_a_task_has_died_is_replaced(
    changelog: Changelog, database: Database, follower: Follower, part: str
) -> None:
    """It would give nothing any more, as if there were nothing."""
    await changelog.write(0, {b"a": b"1"})
    follower.follow([0])
    await follower.caught_up([0])
    consumer = follower._consumer
    attrgetter(part)(consumer).cancel()
    await changelog.write(0, {b"b": b"2"})
    await asyncio.wait_for(follower.caught_up([0]), 20)
    assert dict(database.items(0)) == {b"a": b"1", b"b": b"2"}

    async def replaced() -> bool:
        return follower._consumer not in (None, consumer)

    await eventually(replaced, "another consumer is there")


async def test_a_folder_that_cannot_be_used_is_said_to_whoever_waits(
    changelog: Changelog, database: Database, follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise DatabaseError("the data folder F cannot be used: no space")

    monkeypatch.setattr(database, "apply", full)
    await changelog.write(0, {b"a": b"1"})
    follower.follow([0])
    with pytest.raises(DatabaseError, match="the data folder F cannot be used"):
        await asyncio.wait_for(follower.caught_up([0]), 20)
    assert follower.failure == "the data folder F cannot be used: no space"
    assert follower.task is not None
    assert follower.task.done()
