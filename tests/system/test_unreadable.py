"""Records that cannot be read, or are far too large, in a topic that workers read: they go aside, all else goes on."""

import asyncio
import re
import struct
import time
from collections import Counter
from collections.abc import Iterable
from functools import partial
from itertools import batched
from pathlib import Path
from typing import Any, Final

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from agents.intake import home_partition
from app import aiokafka_cures
from app.batches import Unreadable
from app.microstructure.engine import EngineParams, SymbolEngine
from app.microstructure.events import BadEventError, Event, decode
from support.ground import Ground
from support.records import event_bytes
from support.reports import Watch
from support.streams import SYMBOLS, Feed, interleaved, undisturbed
from support.telling import Tell
from support.workers import PARTITIONS, Deployment, Worker, eventually

pytestmark = pytest.mark.stack

MB: Final = 1 << 20
CODECS: Final = (None, "gzip", "snappy", "lz4", "zstd")
HOME: Final = home_partition("BTCUSDT", PARTITIONS)
EACH: Final = 100
MOST_RSS_MB: Final = 400
MOST_GAP_SEC: Final = 5.0  # on a machine that is busy with tests; alone it is a fraction of a second
_BATCH_HEAD: Final = struct.Struct(">qi")


@pytest.fixture(autouse=True)
def _reads_all() -> None:
    """Let this process read what workers can."""
    aiokafka_cures.install()


async def send(deployment: Deployment, events: Iterable[Event], codec: str | None) -> None:
    """Send events, at least two batches a partition."""
    async with AIOKafkaProducer(
        bootstrap_servers=deployment.settings.kafka_brokers, compression_type=codec, linger_ms=20
    ) as producer:
        for some in batched(events, 10 * len(SYMBOLS)):
            for event in some:
                await producer.send(deployment.settings.events_topic, event_bytes(event), key=event.symbol.encode())
            await producer.flush()


async def throw(deployment: Deployment, *sizes: int, codec: str = "gzip") -> None:
    """Send records of so many zeros to the partition of BTCUSDT."""
    async with AIOKafkaProducer(
        bootstrap_servers=deployment.settings.kafka_brokers, compression_type=codec, max_request_size=1 << 30
    ) as producer:
        for size in sizes:
            await producer.send_and_wait(deployment.settings.events_topic, bytes(size), key=b"BTCUSDT", partition=HOME)


async def expected(deployment: Deployment) -> dict[str, bytes]:
    """The states of engines that have seen each event of the topic, and nothing of what is no event."""
    engines: dict[str, SymbolEngine] = {}
    for record in await deployment.read_topic(deployment.settings.events_topic, PARTITIONS):
        try:
            event = decode(record.value, record.key)
        except BadEventError:
            continue
        engines.setdefault(event.symbol, SymbolEngine(event.symbol, EngineParams())).apply(event, record.offset)
    return {symbol: engine.snapshot() for symbol, engine in engines.items()}


async def states_are(deployment: Deployment, wanted: dict[str, bytes]) -> None:
    async def equal() -> bool:
        return await deployment.newest_states() == wanted

    await eventually(equal, "the changelog has the states")


async def letters(deployment: Deployment) -> list[tuple[bytes | None, dict[str, bytes]]]:
    found = await deployment.read_topic(deployment.settings.dlq_topic, 1)
    return [(record.value, dict(record.headers)) for record in found]


async def test_each_codec_of_kafka_is_read(deployment: Deployment) -> None:
    events = interleaved(EACH)
    part = len(events) // len(CODECS)
    with deployment.worker("w1") as worker:
        for number, codec in enumerate(CODECS):
            last = number == len(CODECS) - 1
            await send(deployment, events[number * part : None if last else (number + 1) * part], codec)
        await states_are(deployment, undisturbed(events, PARTITIONS))
        assert worker.stop() == 0
    assert await letters(deployment) == []


async def test_bombs_cost_nobody_else_anything(ground: Ground, tell: Tell) -> None:
    deployment = ground.deployment
    # Each of ten seconds; the bombs come after the first two.
    feed = Feed(ground.broker.bootstrap, deployment.settings.events_topic, interleaved(EACH), EACH * len(SYMBOLS) / 10)
    with deployment.worker("w1") as worker:
        await eventually(partial(feed.reached, EACH * len(SYMBOLS) // 5), "a fifth was sent")
        await eventually(ground.reports.complete, "every symbol has a report")
        before_mb = worker.most_memory_mb
        async with Watch(ground.reports) as watch:
            for codec in ("gzip", "zstd", "lz4"):
                # In a thread: to compress them takes longer than we may look away.
                throwing = throw(deployment, 5 * MB, 9 * MB, 31 * MB, 100 * MB, codec=codec)
                await asyncio.to_thread(asyncio.run, throwing)
            await feed
        tell(f"longest gap of any symbol {max(watch.gaps.values()):.2f} s, with 12 bombs of up to 100 MB")
        assert watch.faults == []
        assert max(watch.gaps.values()) < MOST_GAP_SEC
        await states_are(deployment, await expected(deployment))
        await eventually(deployment.all_is_committed, "all is committed")
        most_mb = worker.most_memory_mb
        tell(f"memory at most {before_mb:.0f} MB before, {most_mb:.0f} MB after")
        assert most_mb < MOST_RSS_MB
        await eventually(partial(_says, worker, "dead-letter topic"), "health says so")
        assert worker.stop() == 0
    found = await letters(deployment)
    assert Counter(headers["reason"] for _, headers in found) == {b"oversized": 9, b"oversized_batch": 3}
    assert max(len(value or b"") for value, _ in found) == 64 << 10
    assert {headers.get("value_size") for _, headers in found} == {
        None, *(str(size * MB).encode() for size in (5, 9, 31))
    }  # fmt: skip


async def test_a_batch_that_the_disk_has_damaged_costs_its_own_events_and_no_more(ground: Ground) -> None:
    deployment, events = ground.deployment, interleaved(EACH)
    await send(deployment, events[: len(events) // 2], "gzip")
    await asyncio.to_thread(ground.broker.stop)
    damage_a_batch(ground, deployment.settings.events_topic)
    await asyncio.to_thread(ground.broker.start)
    with deployment.worker("w1") as worker:
        await deployment.send(events[len(events) // 2 :])
        await states_are(deployment, await expected(deployment))
        await eventually(deployment.all_is_committed, "all is committed")
        assert worker.stop() == 0
    records = await deployment.read_topic(deployment.settings.events_topic, PARTITIONS)
    (bad,) = [each for each in records if isinstance(each, Unreadable)]
    ((value, headers),) = await letters(deployment)
    assert (value, headers["reason"]) == (b"", b"damaged_batch")
    assert (int(headers["source_offset"]), int(headers["source_partition"])) == (bad.first_offset, HOME)
    assert int(headers.get("source_last_offset", headers["source_offset"])) == bad.offset


async def test_a_snapshot_that_the_disk_has_damaged_is_missed_and_its_partition_goes_on(ground: Ground) -> None:
    deployment, events = ground.deployment, interleaved(EACH)
    with deployment.worker("w1") as worker:
        await deployment.send(events)
        await states_are(deployment, undisturbed(events, PARTITIONS))
        assert worker.stop() == 0
    await asyncio.to_thread(ground.broker.stop)
    damage_a_batch(ground, f"{deployment.settings.worker_group}-snapshots-changelog")
    await asyncio.to_thread(ground.broker.start)
    with deployment.worker("w2") as worker:
        await eventually(partial(_owns_all, worker), "the worker has all partitions")
        await eventually(partial(_has_all, worker), "and all symbols")
        log = worker.log.read_text()
        assert "cannot be read: its checksum is another" in log
        await eventually(partial(_shows, worker, 'component="changelog",type="unreadable"} [12]\\.0'), "it is counted")
        lost = {symbol for symbol in SYMBOLS if f'"symbol":"{symbol}"' in "".join(_lines_with(log, "begins empty"))}
        restored = {symbol for symbol in SYMBOLS if f'"symbol":"{symbol}"' in "".join(_lines_with(log, "restored at"))}
        assert {home_partition(symbol, PARTITIONS) for symbol in lost} <= {HOME}
        assert restored | lost == set(SYMBOLS)
        assert worker.stop() == 0


async def test_a_dead_letter_topic_with_a_small_limit_gets_letters_without_values(
    kafka: str, redis_url: str, topic_prefix: str, tmp_path: Path
) -> None:
    deployment = Deployment(kafka, redis_url, topic_prefix, tmp_path)
    await _create(kafka, NewTopic(deployment.settings.dlq_topic, 1, 1, topic_configs={"max.message.bytes": "2000"}))
    await deployment.create_topics()
    with deployment.worker("w1") as worker:
        await deployment.send_raw([(b"BTCUSDT", b"{" * 5000)])
        await eventually(deployment.all_is_committed, "all is committed")
        assert worker.stop() == 0
    ((value, headers),) = await letters(deployment)
    assert (value, headers["reason"]) == (b"", b"malformed_json")


@pytest.mark.long
async def test_a_dead_letter_topic_that_is_gone_holds_commits_up_once_and_is_said(deployment: Deployment) -> None:
    events = interleaved(EACH)
    with deployment.worker("w1") as worker:
        await eventually(partial(_owns_all, worker), "the worker has all partitions")
        admin = AIOKafkaAdminClient(bootstrap_servers=deployment.settings.kafka_brokers)
        await admin.start()
        await admin.delete_topics([deployment.settings.dlq_topic])
        await admin.close()
        await deployment.send_raw([(b"BTCUSDT", b"{")])
        await deployment.send(events)
        await eventually(deployment.all_is_committed, "all is committed")
        await eventually(partial(_shows, worker, 'component="dead_letters",type="lost"} 1\\.0'), "it is counted")
        assert "no dead letter for offset 0" in worker.log.read_text()
        began = time.monotonic()
        await deployment.send_raw([(b"BTCUSDT", b"{")])
        await eventually(deployment.all_is_committed, "all is committed")
        assert time.monotonic() - began < 20, "further ones are tried once"
        assert worker.stop() == 0


def damage_a_batch(ground: Ground, topic: str) -> None:
    """Turn some bits of the second batch of BTCUSDT's partition, as a disk would."""
    (log,) = ground.broker.folder.glob(f"data/{topic}-{HOME}/00000000000000000000.log")
    data = bytearray(log.read_bytes())
    at = sum(_BATCH_HEAD.unpack_from(data)[1:]) + _BATCH_HEAD.size
    _, length = _BATCH_HEAD.unpack_from(data, at)
    end = at + _BATCH_HEAD.size + length
    assert end < len(data), "there is a batch behind it"
    data[end - 2] ^= 0xFF
    log.write_bytes(data)


async def _create(kafka: str, topic: NewTopic) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.create_topics([topic])
    await admin.close()


async def _says(worker: Worker, text: str) -> bool:
    return any(text in problem for problem in (await worker.health()).get("problems", ()))


async def _shows(worker: Worker, pattern: str) -> bool:
    """Whether the metrics have a line like this; they may be served a moment later than all else."""
    return re.search(pattern, await worker.metrics()) is not None


def _lines_with(log: str, text: str) -> list[str]:
    return [line for line in log.splitlines() if text in line]


async def _owns_all(worker: Worker) -> bool:
    return await worker.partitions() == set(range(PARTITIONS))


async def _has_all(worker: Worker) -> bool:
    symbols: dict[str, Any] = (await worker.health()).get("symbols", {})
    return symbols.keys() == set(SYMBOLS)
