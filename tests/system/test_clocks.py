"""A worker whose wall clock is wrong computes the same; only the ages that it states differ, and none is negative.

The clock is moved by a `sitecustomize` that Python imports before anything else of the worker. What a reader answers
does not differ at all.
"""

import asyncio
import time
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app import topics
from app.microstructure import rfc3339
from app.stores.redis_reader import RedisReportReader
from report_server.service import ReportService
from support.ground import Ground
from support.markets import SECOND
from support.reports import Reports
from support.streams import SYMBOLS, Feed, interleaved, last_offsets, undisturbed
from support.telling import Tell
from support.wall_clock import WallClock
from support.workers import PARTITIONS, Deployment, eventually

pytestmark = pytest.mark.stack

EACH = 120
PER_SEC = 640.0
STALE_AFTER_MS = 2000
SHIFT = '''"""Moves the wall clock of this process."""

import os
import time

_OFF_NS = int(os.environ["CLOCK_OFF_NS"])
_true_ns = time.time_ns

time.time_ns = lambda: _true_ns() + _OFF_NS
time.time = lambda: (_true_ns() + _OFF_NS) / 1e9
'''


class Replica:
    """A group of its own with one worker on the same events, and a Redis database of its own."""

    def __init__(self, ground: Ground, number: int, folder: Path, off_sec: int) -> None:
        base = ground.deployment
        url = ground.redis.url.removesuffix("/0") + f"/{number}"
        self.deployment = Deployment(base.settings.kafka_brokers, url, f"{base.settings.worker_group}-{number}", folder)
        self.deployment.settings = msgspec.structs.replace(
            self.deployment.settings, events_topic=base.settings.events_topic
        )
        self.reports = Reports(url, SYMBOLS)
        self.off_ms = off_sec * 1000
        self.worker = self.deployment.worker(
            f"w{number}", PYTHONPATH=str(folder / "clock"), CLOCK_OFF_NS=str(off_sec * SECOND)
        )


async def test_a_clock_five_seconds_off_changes_nothing(ground: Ground, tmp_path: Path, tell: Tell) -> None:
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(SHIFT)
    replicas = [Replica(ground, number, tmp_path, off) for number, off in enumerate((0, 5, -5), start=1)]
    for replica in replicas:
        await topics.ensure(replica.deployment.settings)
    right, ahead, behind = replicas
    with right.worker, ahead.worker, behind.worker:
        for replica in replicas:
            await eventually(replica.worker.partitions, "the worker has partitions")
        # The last event happens about when it is sent, so that a clock that is behind finds it in the future.
        begin = time.time_ns() // 10**6 * 10**6 - 9 * SECOND
        events = interleaved(EACH, begin=begin)
        await Feed(ground.broker.bootstrap, ground.deployment.settings.events_topic, events, PER_SEC)
        last = last_offsets(events, PARTITIONS)
        for replica in replicas:
            await eventually(partial(replica.reports.reached, last), "every event is in a report")

        async def equal() -> list[dict[str, Any]] | None:
            found = [await replica.reports.of(SYMBOLS[0]) for replica in replicas]
            reports = [report for report in found if report is not None]
            return reports if len({msgspec.json.encode(_timeless(report)) for report in reports}) == 1 else None

        reports = await eventually(equal, "the reports are equal but for their moments")
        now_ms = time.time_ns() // 10**6
        true_age = now_ms - int(events[-1].ts_event) // 10**6
        for replica, report in zip(replicas, reports, strict=True):
            tell(f"clock {replica.off_ms:+} ms: data_age_ms {report['data_age_ms']}, true age {true_age}")
            assert abs(report["updatedAt"] - now_ms) < 4000
            assert report["data_age_ms"] == max(0, report["updatedAt"] - int(events[-16].ts_event) // 10**6)
            assert report["ingestion"]["last_event_age_ms"] < true_age + 1000
        for replica in replicas:
            assert replica.worker.stop() == 0
            await replica.reports.close()
    expected = undisturbed(events, PARTITIONS)
    for replica in replicas:
        assert await replica.deployment.newest_states() == expected


async def test_a_workers_clock_that_jumps_dates_no_report_wrong_and_is_named(
    ground: Ground, tmp_path: Path, tell: Tell
) -> None:
    clock = WallClock(tmp_path / "clock")
    worker = ground.deployment.worker("w1", **clock.env())
    store = RedisReportReader(ground.redis.url, password=None, timeout_sec=1.0)
    service = ReportService(store, 1.0, STALE_AFTER_MS)
    last_ms = 0

    async def answer() -> tuple[dict[str, Any], int]:
        """The answer, and how old its data truly are."""
        report = (await service.get_report(SYMBOLS[0])).content
        return report, (time.time_ns() - rfc3339.parse(report["provenance"]["ts_event"])) // 10**6

    with worker:
        await eventually(worker.partitions, "the worker has partitions")
        events = interleaved(EACH, begin=time.time_ns() // 10**6 * 10**6 - 9 * SECOND)
        await Feed(ground.broker.bootstrap, ground.deployment.settings.events_topic, events, PER_SEC)
        await eventually(
            partial(ground.reports.reached, last_offsets(events, PARTITIONS)), "every event is in a report"
        )
        for off_sec in (0, 3600, -3600, 0):
            clock.set(off_sec)
            until = time.monotonic() + 1.5
            while time.monotonic() < until:
                report, true_age = await answer()
                assert not report["ingestion"]["stale"]
                assert abs(report["data_age_ms"] - true_age) < 1000
                assert report["updatedAt"] >= last_ms
                assert abs(report["updatedAt"] - time.time_ns() // 10**6) < 2000
                last_ms = report["updatedAt"]
                await asyncio.sleep(0.02)
            tell(f"clock {off_sec:+} s: data_age_ms {report['data_age_ms']}, true age {true_age}")
            assert service.clocks.problem() is None, "reports are dated by the store's clock"
            said = (await worker.health()).get("problems", [])
            assert [each.startswith("this host's clock is 3600.0 s") for each in said] == [True] * bool(off_sec)
        worker.crash()
        died = time.monotonic()

        async def stale() -> bool:
            report, true_age = await answer()
            assert abs(report["data_age_ms"] - true_age) < 1000
            return bool(report["ingestion"]["stale"])

        await eventually(stale, "the report is stale")
        tell(f"stale {time.monotonic() - died:.2f} s after the worker's death")
        assert time.monotonic() - died < (STALE_AFTER_MS + 1000) / 1000
    await service.close()
    await store.close()


def _timeless(report: dict[str, Any]) -> dict[str, Any]:
    """A report without what the clocks and the moment make of it."""
    ingestion = {name: report["ingestion"][name] for name in ("status", "confidence", "stale")}
    provenance = {k: v for k, v in report["provenance"].items() if k not in ("as_of", "slow")}
    moments = ("writer", "generated_at", "updatedAt", "data_age_ms")
    kept = {name: value for name, value in report.items() if name not in moments}
    return kept | {"ingestion": ingestion, "provenance": provenance}


async def test_a_worker_whose_clock_is_years_behind_puts_no_event_aside(ground: Ground, tmp_path: Path) -> None:
    clock = WallClock(tmp_path / "clock")
    clock.set(-5 * 365 * 86_400)
    worker = ground.deployment.worker("w1", **clock.env())
    events = interleaved(EACH, begin=time.time_ns() // 10**6 * 10**6 - 9 * SECOND)
    with worker:
        await eventually(worker.partitions, "the worker has partitions")
        await Feed(ground.broker.bootstrap, ground.deployment.settings.events_topic, events, PER_SEC)
        last = last_offsets(events, PARTITIONS)
        await eventually(partial(ground.reports.reached, last), "every event is in a report")
        assert await worker.metric("context8_dead_letters_total") == 0
