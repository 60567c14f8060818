"""Workers as processes, on real Kafka, real Redis and real RocksDB."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as aioredis

from agents.intake import home_partition
from app.microstructure.engine import EngineParams, SymbolEngine
from app.microstructure.events import Event
from app.stack.kafka import KafkaBroker
from app.stack.redis import RedisServer
from app.topics import changelog_name
from support.changelog import newest_states
from support.contracts import validate_report
from support.markets import SECOND, START, deltas, snapshot, ticker, trade
from support.workers import PARTITIONS, Deployment, Worker, eventually

pytestmark = pytest.mark.stack

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "BNBUSDT", "XRPUSDT", "ADAUSDT", "DOGEUSDT", "LTCUSDT")


def market(symbol: str, count: int) -> list[Event]:
    """A book that moves and trades: `count` events with times 100 ms apart."""
    bids, asks = [(99.0 - n, 1.0 + n) for n in range(30)], [(101.0 + n, 1.0 + n) for n in range(30)]
    events: list[Event] = [snapshot(1000, bids, asks, symbol=symbol), ticker(symbol=symbol)]
    for number in range(count - 2):
        at = START + number * SECOND // 10
        if number % 2:
            events.append(trade(number, 100.0, 0.5 + number % 7, at=at, symbol=symbol))
        else:
            update_id = 1001 + number // 2
            change = [(99.5 - (number % 5) / 10, float(number % 3))]
            events.append(deltas(update_id, update_id, change, at=at, symbol=symbol))
    return events


def interleaved(count: int) -> list[Event]:
    """The markets of all symbols, taking turns."""
    return [event for group in zip(*(market(symbol, count) for symbol in SYMBOLS), strict=True) for event in group]


@pytest.fixture
async def deployment(kafka: str, redis_url: str, topic_prefix: str, tmp_path: Path) -> Deployment:
    made = Deployment(kafka, redis_url, topic_prefix, tmp_path)
    await made.create_topics()
    return made


@pytest.fixture
async def reports(redis_url: str) -> AsyncIterator["Reports"]:
    client = aioredis.Redis.from_url(redis_url)
    yield Reports(client)
    await client.aclose()


class Reports:
    """What a reader sees in Redis; every report that is looked at is held to the schema."""

    def __init__(self, client: aioredis.Redis) -> None:
        self._client = client

    async def of(self, symbol: str) -> dict[str, Any] | None:
        body = await self._client.get(f"report:{symbol}")
        return validate_report(body) if body else None

    async def offsets(self) -> dict[str, int]:
        found = {symbol: await self.of(symbol) for symbol in SYMBOLS}
        return {symbol: report["provenance"]["offset"] for symbol, report in found.items() if report}

    async def writers(self) -> dict[str, tuple[str, int]]:
        found = {symbol: await self.of(symbol) for symbol in SYMBOLS}
        return {
            symbol: (report["writer"]["nodeId"], report["writer"]["writerToken"])
            for symbol, report in found.items()
            if report
        }

    async def reached(self, offsets: dict[str, int]) -> bool:
        return await self.offsets() == offsets


def last_offsets(events: list[Event], start: dict[int, int] | None = None) -> dict[str, int]:
    """The offset of each symbol's last event when `events` fill the topic."""
    position = dict(start or {})
    last: dict[str, int] = {}
    for event in events:
        partition = home_partition(event.symbol, PARTITIONS)
        last[event.symbol] = position.setdefault(partition, 0)
        position[partition] += 1
    return last


def reference(symbol: str, events: list[Event]) -> bytes:
    """The state of an engine that was never disturbed."""
    engine, position = SymbolEngine(symbol, EngineParams()), dict.fromkeys(range(PARTITIONS), 0)
    for event in events:
        partition = home_partition(event.symbol, PARTITIONS)
        if event.symbol == symbol:
            engine.apply(event, position[partition])
        position[partition] += 1
    return engine.snapshot()


async def test_events_become_reports_and_bad_messages_go_aside(deployment: Deployment, reports: Reports) -> None:
    events = market("BTCUSDT", 60)
    with deployment.worker("w1") as worker:
        await deployment.send(events[:30])
        await deployment.send_raw([(b"BTCUSDT", b"{not json"), (b"ETHUSDT", b"[]"), (None, b""), (b"BTCUSDT", b"{}")])
        await deployment.send(events[30:])

        async def complete() -> dict[str, Any] | None:
            report = await reports.of("BTCUSDT")
            done = report and report["provenance"]["book_update_id"] == 1029
            return report if done else None

        report = await eventually(complete, "the last update is in the report")
        assert report["writer"] == {"nodeId": "w1", "writerToken": 1}
        assert report["last_price"] == 100.0
        assert report["provenance"]["gap_count"] == 0
        assert report["best_ask"] == {"price": 101.0, "qty": 1.0}

        async def set_aside() -> list[Any]:
            letters = await deployment.read_topic(deployment.settings.dlq_topic, 1)
            return letters if len(letters) == 4 else []

        letters = await eventually(set_aside, "four dead letters")
        headers = [{name: value.decode() for name, value in letter.headers} for letter in letters]
        assert sorted(each["reason"] for each in headers) == ["empty", "invalid", "invalid", "malformed_json"]
        assert {each["source_topic"] for each in headers} == {deployment.settings.events_topic}
        assert all(each["source_partition"].isdigit() and each["source_offset"].isdigit() for each in headers)
        assert {letter.value for letter in letters} >= {b"{not json", b"[]", b"{}"}
        assert "context8_dead_letters_total" in await worker.metrics()


async def test_a_killed_worker_goes_on_from_its_snapshot_and_counts_nothing_twice(
    deployment: Deployment, reports: Reports
) -> None:
    events = interleaved(120)
    half = len(events) // 2
    worker = deployment.worker("w1")
    with worker:
        sending = asyncio.create_task(deployment.send(events[:half], delay=0.002))
        await eventually(lambda: reports.of("LTCUSDT"), "a report while events come")
        worker.kill()
        await sending
    with worker:
        await deployment.send(events[half:])
        await eventually(lambda: reports.reached(last_offsets(events)), "every event is in a report")
        assert {epoch for _, epoch in (await reports.writers()).values()} == {2}
        assert worker.stop() == 0
    states = newest_states(await deployment.read_topic(changelog_name(deployment.settings), PARTITIONS))
    for symbol in SYMBOLS:
        assert states[symbol] == reference(symbol, events)


async def test_a_clean_stop_saves_and_commits_everything(deployment: Deployment, reports: Reports) -> None:
    events = interleaved(40)
    with deployment.worker("w1", SNAPSHOT_INTERVAL_MS="60000") as worker:
        await deployment.send(events)
        await eventually(lambda: reports.reached(last_offsets(events)), "every event is in a report")
        assert await deployment.committed() == {}
        assert worker.stop() == 0
    states = newest_states(await deployment.read_topic(changelog_name(deployment.settings), PARTITIONS))
    assert states == {symbol: reference(symbol, events) for symbol in SYMBOLS}
    ends = {home_partition(symbol, PARTITIONS) for symbol in SYMBOLS}
    position: dict[int, int] = dict.fromkeys(ends, 0)
    for event in events:
        position[home_partition(event.symbol, PARTITIONS)] += 1
    assert await deployment.committed() == position


class Watch:
    """Looks at every report all the time and notes whether any ever went backwards."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports
        self._task = asyncio.create_task(self._look())
        self.seen: dict[str, tuple[int, int]] = {}
        self.looks = 0

    async def _look(self) -> None:
        while True:
            for symbol in SYMBOLS:
                report = await self._reports.of(symbol)
                if report:
                    now = (report["writer"]["writerToken"], report["provenance"]["offset"])
                    before = self.seen.get(symbol, now)
                    assert now[0] >= before[0], f"the epoch of {symbol} fell from {before} to {now}"
                    assert now[1] >= before[1], f"the offset of {symbol} fell from {before} to {now}"
                    self.seen[symbol] = now
                    self.looks += 1
            await asyncio.sleep(0.01)

    async def end(self) -> None:
        self._task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self._task


async def partitions_of(*workers: Worker) -> list[set[int]]:
    return [set((await worker.health()).get("partitions", [])) for worker in workers]


async def test_of_two_workers_one_is_killed_and_the_other_goes_on(deployment: Deployment, reports: Reports) -> None:
    events = interleaved(600)
    with ExitStack() as stack:
        first, second = (stack.enter_context(deployment.worker(name)) for name in ("w1", "w2"))

        async def split() -> list[set[int]] | None:
            owned = await partitions_of(first, second)
            disjoint = owned[0] and owned[1] and not owned[0] & owned[1]
            return owned if disjoint and owned[0] | owned[1] == set(range(PARTITIONS)) else None

        owned = await eventually(split, "the partitions are split between both")
        sending = asyncio.create_task(deployment.send(events, delay=0.002))

        async def both_write() -> bool:
            writers = await reports.writers()
            return len(writers) == len(SYMBOLS) and {node for node, _ in writers.values()} == {"w1", "w2"}

        await eventually(both_write, "both workers write")
        watch = Watch(reports)
        before = await reports.writers()
        first.kill()
        await sending
        await eventually(lambda: reports.reached(last_offsets(events)), "every event is in a report")
        after = await reports.writers()
        await watch.end()
        assert watch.looks > len(SYMBOLS)
        for symbol in SYMBOLS:
            moved = home_partition(symbol, PARTITIONS) in owned[0]
            assert after[symbol][0] == "w2"
            assert after[symbol][1] == before[symbol][1] + 1 if moved else after[symbol] == before[symbol]
        assert second.stop() == 0
    states = newest_states(await deployment.read_topic(changelog_name(deployment.settings), PARTITIONS))
    assert states == {symbol: reference(symbol, events) for symbol in SYMBOLS}


async def test_reports_keep_coming_and_say_so_when_the_source_stops(deployment: Deployment, reports: Reports) -> None:
    with deployment.worker("w1"):
        await deployment.send(market("BTCUSDT", 10))

        async def degraded() -> dict[str, Any] | None:
            report = await reports.of("BTCUSDT")
            return report if report and report["ingestion"]["status"] == "degraded" else None

        report = await eventually(degraded, "ingestion is degraded")
        assert 1000 < report["ingestion"]["last_event_age_ms"] < 10_000


async def test_health_names_a_redis_and_a_kafka_that_are_away(topic_prefix: str, tmp_path: Path) -> None:
    broker, server = KafkaBroker(tmp_path / "kafka"), RedisServer(tmp_path / "redis")
    with broker, server:
        deployment = Deployment(broker.bootstrap, server.url, topic_prefix, tmp_path)
        await deployment.create_topics()
        with deployment.worker("w1") as worker:
            await deployment.send(market("BTCUSDT", 10))

            async def healthy() -> bool:
                health = await worker.health()
                return health.get("status") == "ok" and bool(health["symbols"])

            async def problem(name: str) -> bool:
                health = await worker.health()
                return health["status"] == "degraded" and any(name in each for each in health["problems"])

            await eventually(healthy, "all is well")
            server.kill()
            await eventually(partial(problem, "Redis"), "Redis is named")
            server.start()
            await eventually(healthy, "Redis is back, all is well by itself")
            broker.kill()
            await eventually(partial(problem, "Kafka"), "Kafka is named")
            worker.kill()


async def test_logs_are_one_json_object_a_line(deployment: Deployment, reports: Reports) -> None:
    with deployment.worker("w1") as worker:
        await deployment.send(market("BTCUSDT", 10))
        await eventually(lambda: reports.of("BTCUSDT"), "a report")
        worker.stop()
    lines = [json.loads(line) for line in worker.log.read_text().splitlines()]
    assert {"restored", "writer"} & {line["message"].split()[0] for line in lines}
    assert {line["component"] for line in lines} == {"worker"}


@pytest.mark.parametrize(("name", "value"), [("TIMEOUT_MS", "soon"), ("REDIS_URL", "nowhere")])
async def test_a_bad_setting_stops_a_worker_with_one_line(deployment: Deployment, name: str, value: str) -> None:
    with deployment.worker("w1", **{name: value}) as worker:
        await eventually(lambda: _ended(worker), "the worker ends")
    assert worker.exit_code == 2
    assert worker.log.read_text().splitlines()[0].startswith(f"{name}='{value}' is not allowed: ")
    assert len(worker.log.read_text().splitlines()) == 1


async def test_a_worker_that_could_not_work_says_why_before_it_joins(deployment: Deployment) -> None:
    with deployment.worker("w1") as first:

        async def up() -> bool:
            return bool((await first.health()).get("partitions")) and bool(await first.metrics())

        await eventually(up, "the first worker is up")
        refused = {
            "WORKER_DATA_DIR": (str(deployment.folder / "w1"), "is in use: every worker of a host"),
            "NT_METRICS_PORT": (str(first.metrics_port), "is taken: every worker of a host"),
            "WORKER_WEB_PORT": (str(first.web_port), "is taken: every worker of a host"),
            "EVENTS_PARTITIONS": ("7", f"has {PARTITIONS} partitions, 7 are wanted: set EVENTS_PARTITIONS"),
            "EVENTS_TOPIC": ("absent", "topic absent is missing: run `context8 topics`"),
        }
        for name, (value, reason) in refused.items():
            with deployment.worker(f"refused-{name}", **{name: value}) as second:
                await eventually(partial(_ended, second), "the worker ends", limit_sec=20)
            assert second.exit_code == 3
            assert reason in second.log.read_text()
            assert len(second.log.read_text().splitlines()) == 1
        assert (await first.health())["partitions"] == list(range(PARTITIONS))


async def test_a_data_folder_that_cannot_be_used_is_named(deployment: Deployment) -> None:
    (deployment.folder / "a-file").write_text("")
    with deployment.worker("w1", WORKER_DATA_DIR=str(deployment.folder / "a-file")) as worker:
        await eventually(partial(_ended, worker), "the worker ends", limit_sec=20)
    assert "a-file cannot be used: " in worker.log.read_text()


async def _ended(worker: Worker) -> bool:
    return not worker.running
