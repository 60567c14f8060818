"""The publisher on real Kafka: order, keys, a broker that goes away, a queue that is full."""

import asyncio
import json
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, OutOfOrderSequenceNumber
from aiokafka.record._crecords import default_records

from agents.intake import home_partition
from app.stack.kafka import KafkaBroker
from producer import publisher as publisher_module
from producer import wire
from producer.metrics import Metrics
from producer.publisher import MAX_EVENT_BYTES, Publisher
from producer.wire import Kind
from support.producing import PARTITIONS, create, read

Until = Callable[..., Awaitable[None]]

pytestmark = pytest.mark.stack

SYMBOLS = ["BTCUSDT", "ETHUSDT", "SOLUSDT", "BNBUSDT", "XRPUSDT"]


def by_symbol(records: list[Any]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for record in records:
        found[record.key.decode()].append(int(record.value))
    return found


def forget(*_: Any) -> None:
    pass


async def test_events_are_keyed_by_symbol_and_ordered_within_it(kafka: str, topic: str) -> None:
    publisher = Publisher(kafka, topic, 100_000, forget, Metrics())
    for number in range(200):  # before there is a connection, and before the partitions are known
        publisher.put(SYMBOLS[number % 5], Kind.TRADE, b"%d" % number)
    publisher.start()
    for number in range(200, 3000):
        publisher.put(SYMBOLS[number % 5], Kind.TRADE, b"%d" % number)
        if number % 97 == 0:
            await asyncio.sleep(0.002)
    assert await publisher.stop(10) == 0
    records = await read(kafka, topic)
    assert by_symbol(records) == {symbol: list(range(n, 3000, 5)) for n, symbol in enumerate(SYMBOLS)}
    for record in records:
        assert record.partition == home_partition(record.key.decode(), PARTITIONS)
        assert record.timestamp_type == 0  # CreateTime
    assert publisher.waiting == 0


async def test_a_batch_larger_than_the_limit_goes_in_parts(kafka: str, topic: str) -> None:
    publisher = Publisher(kafka, topic, 100_000, forget, Metrics())
    values = [b"%0900000d" % number for number in range(5)]
    for value in values:
        publisher.put("BTCUSDT", Kind.SNAPSHOT, value)
    publisher.start()
    assert await publisher.stop(20) == 0
    assert [record.value for record in await read(kafka, topic)] == values


async def test_an_event_that_no_broker_takes_is_refused(kafka: str, topic: str) -> None:
    publisher = Publisher(kafka, topic, 100_000, forget, Metrics())
    with pytest.raises(ValueError, match="at most 1000000 are allowed"):
        publisher.put("BTCUSDT", Kind.SNAPSHOT, bytes(MAX_EVENT_BYTES + 1))


async def test_kafka_may_be_away_at_the_start_and_in_between(
    own_broker: KafkaBroker,
    topic_prefix: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    until: Until,
) -> None:
    monkeypatch.setattr(publisher_module, "SILENCE", 0.5)
    monkeypatch.setattr(publisher_module, "OUTAGE_LOOK", 0.05)
    metrics = Metrics()
    publisher = Publisher(own_broker.bootstrap, topic_prefix, 100_000, forget, metrics)
    publisher.start()
    publisher.put("BTCUSDT", Kind.TRADE, b"0")
    await until(lambda: (metrics.registry.get_sample_value("context8_producer_kafka_sessions_total") or 0) >= 3)
    assert not publisher.reachable
    await asyncio.to_thread(own_broker.start)
    try:
        await create(own_broker.bootstrap, topic_prefix)
        await until(lambda: publisher.waiting == 0)
        assert publisher.reachable
        for number in range(1, 500):
            publisher.put("BTCUSDT", Kind.TRADE, b"%d" % number)
        await asyncio.sleep(0.006)
        await asyncio.to_thread(own_broker.kill)
        for number in range(500, 1000):
            publisher.put("BTCUSDT", Kind.TRADE, b"%d" % number)
        await until(lambda: not publisher.reachable)
        await asyncio.to_thread(own_broker.start)
        await until(lambda: publisher.waiting == 0, limit_sec=60)
        await until(lambda: "Kafka does not answer" in caplog.text and "Kafka answers again" in caplog.text)
        assert await publisher.stop(1) == 0
        numbers = [int(record.value) for record in await read(own_broker.bootstrap, topic_prefix)]
        assert numbers == list(range(1000))
    finally:
        await asyncio.to_thread(own_broker.stop)


async def test_a_session_that_fails_is_followed_by_one_that_sends_what_was_not_acknowledged(
    kafka: str, topic: str, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    send = AIOKafkaProducer.send_batch
    failures = [KafkaConnectionError("a"), OutOfOrderSequenceNumber("b")]

    async def unreliable(*args: Any, **kwargs: Any) -> Any:
        acknowledged = await send(*args, **kwargs)
        if failures and publisher.waiting < 900:
            raise failures.pop()
        return acknowledged

    monkeypatch.setattr(AIOKafkaProducer, "send_batch", unreliable)
    publisher = Publisher(kafka, topic, 100_000, forget, Metrics())
    publisher.start()
    for number in range(1000):
        publisher.put("BTCUSDT", Kind.TRADE, b"%d" % number)
        if number % 100 == 0:
            await until(lambda: publisher.waiting == 0 or not failures)
    assert await publisher.stop(20) == 0
    numbers = [int(record.value) for record in await read(kafka, topic)]
    assert list(dict.fromkeys(numbers)) == list(range(1000))
    assert not failures


async def test_stopping_while_kafka_is_away_ends_in_time_and_says_what_is_lost(
    own_broker: KafkaBroker, topic_prefix: str, caplog: pytest.LogCaptureFixture, until: Until
) -> None:
    await asyncio.to_thread(own_broker.start)
    try:
        await create(own_broker.bootstrap, topic_prefix)
        publisher = Publisher(own_broker.bootstrap, topic_prefix, 100_000, forget, Metrics())
        publisher.start()
        publisher.put("BTCUSDT", Kind.TRADE, b"0")
        await until(lambda: publisher.waiting == 0)
    finally:
        await asyncio.to_thread(own_broker.kill)
    for number in range(7):
        publisher.put("BTCUSDT", Kind.TRADE, b"%d" % number)
    async with asyncio.timeout(10):
        with caplog.at_level(logging.ERROR):
            assert await publisher.stop(0.2) == 7
    assert "7 events could not be brought to Kafka within 0.2 s" in caplog.text


async def test_a_topic_that_does_not_exist_is_named_and_waited_for(
    kafka: str, topic_prefix: str, caplog: pytest.LogCaptureFixture, until: Until
) -> None:
    publisher = Publisher(kafka, topic_prefix, 100_000, forget, Metrics())
    publisher.start()
    publisher.put("BTCUSDT", Kind.TRADE, b"0")
    with caplog.at_level(logging.ERROR):
        await until(lambda: f"topic {topic_prefix} does not exist" in caplog.text)
    await create(kafka, topic_prefix)
    assert await publisher.stop(20) == 0
    assert len(await read(kafka, topic_prefix)) == 1


def diff(update_id: int, *, snapshot: bool = False) -> bytes:
    return wire.deltas(
        "BTCUSDT", 0, 0, first_update_id=update_id, final_update_id=update_id, snapshot=snapshot, bids=[], asks=[]
    )


async def test_a_full_queue_costs_a_book_until_its_next_snapshot(
    own_broker: KafkaBroker, topic_prefix: str, caplog: pytest.LogCaptureFixture, until: Until
) -> None:
    lost: list[tuple[str, str]] = []
    metrics = Metrics()

    def lose(symbol: str, reason: str) -> None:
        lost.append((symbol, reason))
        publisher.put(symbol, Kind.SNAPSHOT, diff(1000, snapshot=True))

    publisher = Publisher(own_broker.bootstrap, topic_prefix, 10, lose, metrics)
    with caplog.at_level(logging.ERROR):
        for number in range(1, 16):
            publisher.put("BTCUSDT", Kind.DIFF, diff(number))
    assert caplog.text.count("queue to Kafka is full") == 1
    assert publisher.waiting == 1
    assert lost == []
    publisher.start()
    await asyncio.to_thread(own_broker.start)
    try:
        await create(own_broker.bootstrap, topic_prefix)
        await until(lambda: bool(lost))
        publisher.put("BTCUSDT", Kind.DIFF, diff(1001))
        assert await publisher.stop(20) == 0
        payloads = [json.loads(record.value)["payload"] for record in await read(own_broker.bootstrap, topic_prefix)]
        assert [(payload["snapshot"], payload["final_update_id"]) for payload in payloads] == [
            (True, 0),
            (True, 1000),
            (False, 1001),
        ]
        assert lost == [("BTCUSDT", "queue_full")]
        labels = {"symbol": "BTCUSDT", "type": "order_book_deltas"}
        assert metrics.registry.get_sample_value("context8_producer_dropped_total", labels) == 15
    finally:
        await asyncio.to_thread(own_broker.stop)


async def test_batches_are_compressed_at_the_fastest_level(
    kafka: str, topic: str, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    made: list[bytes] = []
    compress = default_records.gzip_encode

    def noted(payload: bytes) -> bytes:
        made.append(compress(payload))
        return made[-1]

    publisher = Publisher(kafka, topic, 100_000, forget, Metrics())
    monkeypatch.setattr(default_records, "gzip_encode", noted)
    publisher.start()
    for _ in range(50):
        publisher.put("BTCUSDT", Kind.TRADE, b"1" * 300)
    assert await publisher.stop(20) == 0
    assert len(await read(kafka, topic)) == 50
    assert made
    assert made[0][8] == 4, "gzip's own mark of its fastest level"
    assert publisher.latency is not None
    assert publisher.oldest_age == 0.0
