import asyncio
import hashlib
import time
import tracemalloc
from typing import Any

import pytest
from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from agents import dead_letters
from agents.dead_letters import MAX_KEY_BYTES, MAX_VALUE_BYTES, DeadLetters
from app.microstructure.events import BadEventError
from support.records import record
from support.workers import eventually


class Broker:
    """Takes records, after `refusals`."""

    def __init__(self, *refusals: KafkaError) -> None:
        self.refusals = list(refusals)
        self.limit: int | None = None
        self.taken: list[tuple[str, bytes | None, bytes | None, dict[str, bytes]]] = []

    async def publish(
        self, topic: str, partition: int | None, records: list[tuple[bytes | None, bytes | None]], **headers: bytes
    ) -> None:
        assert partition is None
        if self.refusals:
            raise self.refusals.pop()
        if (limit := self.limit) is not None and sum(len(value or b"") for _, value in records) > limit:
            raise MessageSizeTooLargeError
        self.taken += [(topic, *each, headers) for each in records]


async def test_a_record_goes_aside_unchanged_with_where_it_came_from() -> None:
    broker, done = Broker(), asyncio.Event()
    letters = DeadLetters(broker.publish, "dlq")
    letters.send(record(b"{", 7, key=b"BTCUSDT"), BadEventError("malformed_json", "no end"), done.set)
    assert letters.waiting_since() is not None
    await asyncio.wait_for(done.wait(), 5)
    ((topic, key, value, headers),) = broker.taken
    assert (topic, key, value) == ("dlq", b"BTCUSDT", b"{")
    assert (headers["reason"], headers["source_offset"]) == (b"malformed_json", b"7")
    assert letters.waiting_since() is None
    assert list(letters.since(0.0)) == ["malformed_json"]


async def test_one_that_the_broker_does_not_take_is_sent_again_and_only_then_done(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A broker that has just come up knows no topic; a commit past the record would lose it."""
    broker, done = Broker(UnknownTopicOrPartitionError(), KafkaError("away")), asyncio.Event()
    letters = DeadLetters(broker.publish, "dlq", again_sec=0.01)
    letters.send(record(b"{", 7), BadEventError("malformed_json", "no end"), done.set)

    async def refused_once() -> bool:
        return len(broker.refusals) < 2

    await eventually(refused_once, "the first attempt was made")
    assert not done.is_set()
    await asyncio.wait_for(done.wait(), 5)
    assert (len(broker.taken), caplog.text.count("a dead letter is sent again")) == (1, 2)


BAD = BadEventError("oversized", "too much")


async def test_a_letter_carries_the_beginning_of_a_large_record_with_its_size_and_hash() -> None:
    broker, done = Broker(), asyncio.Event()
    key, value = b"k" * (MAX_KEY_BYTES + 1), b"v" * (MAX_VALUE_BYTES + 1)
    DeadLetters(broker.publish, "dlq").send(record(value, 7, key=key), BAD, done.set)
    await asyncio.wait_for(done.wait(), 5)
    ((_, sent_key, sent_value, headers),) = broker.taken
    assert (sent_key, sent_value) == (key[:-1], value[:-1])
    assert (headers["key_size"], headers["value_size"]) == (b"1025", b"65537")
    assert headers["value_sha256"] == hashlib.sha256(value).hexdigest().encode()


async def test_one_of_the_largest_size_is_whole_and_says_no_size() -> None:
    broker, done = Broker(), asyncio.Event()
    DeadLetters(broker.publish, "dlq").send(record(b"v" * MAX_VALUE_BYTES, 7), BAD, done.set)
    await asyncio.wait_for(done.wait(), 5)
    ((_, _, value, headers),) = broker.taken
    assert len(value or b"") == MAX_VALUE_BYTES
    assert "value_size" not in headers


async def test_a_topic_that_takes_no_such_size_gets_the_letter_without_the_value() -> None:
    broker, done = Broker(), asyncio.Event()
    broker.limit = 100
    letters = DeadLetters(broker.publish, "dlq")
    letters.send(record(b"v" * 101, 7), BAD, done.set)
    await asyncio.wait_for(done.wait(), 5)
    ((_, _, value, headers),) = broker.taken
    assert (value, headers["source_offset"]) == (b"", b"7")
    assert letters.lost_since(0.0) == []


async def test_an_error_that_nobody_has_thought_of_holds_no_commit_up(caplog: pytest.LogCaptureFixture) -> None:
    async def fails(*_: Any, **__: Any) -> None:
        raise AssertionError("Need to send at least one: key or value")

    letters, done = DeadLetters(fails, "dlq"), asyncio.Event()
    letters.send(record(b"", 7, key=None), BAD, done.set)
    await asyncio.wait_for(done.wait(), 5)
    assert letters.lost_since(0.0) == ["AssertionError('Need to send at least one: key or value')"]
    assert "a dead letter cannot be sent" in caplog.text


async def test_one_that_kafka_refuses_is_lost_at_once_and_said_by_its_offset(caplog: pytest.LogCaptureFixture) -> None:
    broker, done = Broker(TopicAuthorizationFailedError("dlq")), asyncio.Event()
    letters = DeadLetters(broker.publish, "dlq", patience_sec=60)
    letters.send(record(b"{", 7), BAD, done.set)
    await asyncio.wait_for(done.wait(), 5)
    assert letters.lost_since(0.0) == ["TopicAuthorizationFailedError('dlq')"]
    assert "no dead letter for offset 7: TopicAuthorizationFailedError" in caplog.text


async def test_while_nothing_gets_through_commits_wait_once_and_no_more() -> None:
    async def away(*_: Any, **__: Any) -> None:
        raise KafkaError("away")

    letters = DeadLetters(away, "dlq", again_sec=0.01, patience_sec=0.2)
    done = []
    began = time.monotonic()
    for offset in range(5):
        finished = asyncio.Event()
        letters.send(record(b"{", offset), BAD, finished.set)
        await asyncio.wait_for(finished.wait(), 5)
        done.append(time.monotonic() - began)
    assert done[0] >= 0.2
    assert done[-1] - done[0] < 0.2, "only the first was tried again"
    assert len(letters.lost_since(0.0)) == 5


async def test_one_that_gets_through_gives_the_next_its_patience_again() -> None:
    broker = Broker(KafkaError("away"), KafkaError("away"))
    letters = DeadLetters(broker.publish, "dlq", again_sec=0.01, patience_sec=0.0)
    for patience, lost in ((0.0, 1), (0.0, 2), (0.0, 2), (5.0, 2)):
        letters._patience_sec = patience
        finished = asyncio.Event()
        if lost == 2 and patience:
            broker.refusals.append(KafkaError("away"))
        letters.send(record(b"{", 1), BAD, finished.set)
        await asyncio.wait_for(finished.wait(), 5)
        assert len(letters.lost_since(0.0)) == lost


async def test_there_is_a_bound_to_how_many_are_on_their_way_and_to_the_lines_of_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(dead_letters, "MAX_WAITING", 50)
    free, done = asyncio.Event(), []

    async def slow(*_: Any, **__: Any) -> None:
        await free.wait()

    letters = DeadLetters(slow, "dlq")
    for offset in range(60):
        letters.send(record(b"{", offset), BAD, lambda: done.append(1))
    assert len(done) == 10
    assert letters.lost_since(0.0) == ["50 are on their way already"] * 10
    assert len(caplog.records) <= 2 * dead_letters._LINES_A_SECOND + 1
    free.set()
    await eventually(lambda: _all(done, 60), "the others are there")


async def test_a_letter_that_waits_holds_no_more_than_it_carries() -> None:
    free, done = asyncio.Event(), []

    async def slow(*_: Any, **__: Any) -> None:
        await free.wait()

    letters = DeadLetters(slow, "dlq")
    tracemalloc.start()
    for offset in range(10):
        letters.send(record(bytes(10 << 20), offset), BAD, lambda: done.append(1))
    await asyncio.sleep(0)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 5 << 20, "of a hundred MB"
    free.set()
    await eventually(lambda: _all(done, 10), "they are there")


async def _all(done: list[int], count: int) -> bool:
    return len(done) == count
