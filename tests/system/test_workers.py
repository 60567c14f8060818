"""Workers as processes, on real Kafka, real Redis and real RocksDB."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Any

import pytest
import redis.asyncio as aioredis

from agents.intake import home_partition
from app.topics import changelog_name
from support.changelog import newest_states
from support.contracts import validate_report
from support.worker_markets import SYMBOLS, interleaved, last_offsets, market, reference
from support.workers import PARTITIONS, Deployment, Worker, eventually

pytestmark = pytest.mark.stack


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

    async def complete(self) -> bool:
        """True if each symbol has a report, and with it an epoch."""
        return len(await self.offsets()) == len(SYMBOLS)

    async def writers(self) -> dict[str, tuple[str, int]]:
        found = {symbol: await self.of(symbol) for symbol in SYMBOLS}
        return {
            symbol: (report["writer"]["nodeId"], report["writer"]["writerToken"])
            for symbol, report in found.items()
            if report
        }

    async def reached(self, offsets: dict[str, int]) -> bool:
        return await self.offsets() == offsets


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
        await eventually(reports.complete, "each symbol has a report while events come")
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


async def test_logs_are_one_json_object_a_line(deployment: Deployment, reports: Reports) -> None:
    with deployment.worker("w1") as worker:
        await deployment.send(market("BTCUSDT", 10))
        await eventually(lambda: reports.of("BTCUSDT"), "a report")
        worker.stop()
    lines = [json.loads(line) for line in worker.log.read_text().splitlines()]
    assert {"restored", "writer"} & {line["message"].split()[0] for line in lines}
    assert {line["component"] for line in lines} == {"worker"}
