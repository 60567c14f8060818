"""(a) Our worker as users start it, from an empty group to the topic's end, seen from outside.

Nothing is asked of the worker while it works: each report in Redis says by itself how far its symbol is and when it was
made. With one symbol a partition, offsets are counts of events; so two looks at all reports give a rate that is right
to the millisecond. The first look is at the first reports, the last one is the last before the end.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient

from app import topics
from app.settings import Settings
from app.stack.errors import StackError
from benchmarks.load_worker import ReportLooks, usage_of, worker_of
from benchmarks.throughput_work import digests
from support.changelog import newest_states
from support.workers import Worker, read_partitions

_LIMIT_SEC = 600.0
_LOOK_SEC = 0.02
_START_SEC = 60.0
_METRICS = ("slow_cycles_total", "changelog_bytes_total", "snapshot_bytes_count", "errors_total", "dead_letters_total")


class Look(NamedTuple):
    """How many events the reports stand for, when they were made (Unix s), and CPU seconds of the worker."""

    events: int
    made_at: float
    cpu: float


def measure(
    settings: Settings, symbols: list[str], events: int, folder: Path, note: Callable[[int], None]
) -> dict[str, Any]:
    """Run a worker over the whole topic and return what it took; `note` hears how far it is.

    Raises:
        StackError: it was too slow, ended badly, or did not commit every event.
    """
    asyncio.run(topics.ensure(settings))
    worker = worker_of(settings, settings.worker_group, folder)
    with worker:
        worker.wait_ready(lambda: bool(asyncio.run(worker.health())), _START_SEC)
        looks = _look_until(worker, ReportLooks(settings.redis_url, symbols), events, note)
        totals = asyncio.run(_totals(worker))
        code = worker.stop()
    if code != 0:
        raise StackError(f"the worker ended with {code}:\n{worker.log_tail()}")
    committed = asyncio.run(_committed(settings))
    if committed != events:
        raise StackError(f"the worker committed {committed} of {events} events")
    first, last = looks[0], looks[-2]
    return {
        "events": last.events - first.events,
        "seconds": last.made_at - first.made_at,
        "cpu": last.cpu - first.cpu,
        "states": digests(asyncio.run(_states(settings))),
        **totals,
    }


def _look_until(worker: Worker, reports: ReportLooks, events: int, note: Callable[[int], None]) -> list[Look]:
    """Look until all events are in the reports; return every look that saw new ones."""
    looks: list[Look] = []
    deadline = time.monotonic() + _LIMIT_SEC
    pid = worker.working_pid
    while not looks or looks[-1].events < events:
        if not worker.running or time.monotonic() > deadline:
            raise StackError(f"the worker is at {looks[-1:]} of {events} events:\n{worker.log_tail()}")
        seen = reports.all()
        so_far = sum(each.provenance.offset + 1 for each in seen.values())
        if so_far > (looks[-1].events if looks else 0):
            made_at = fmean(each.updated_at for each in seen.values()) / 1000
            looks.append(Look(so_far, made_at, usage_of(pid).cpu))
            note(so_far)
        time.sleep(_LOOK_SEC)
    reports.close()
    return looks


async def _totals(worker: Worker) -> dict[str, float]:
    return {name: await worker.metric(f"context8_{name}") for name in _METRICS}


async def _committed(settings: Settings) -> int:
    """Return how many events the group has committed."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_brokers)
    await admin.start()
    try:
        offsets = await admin.list_consumer_group_offsets(settings.worker_group)
    finally:
        await admin.close()
    return sum(meta.offset for tp, meta in offsets.items() if tp.topic == settings.events_topic)


async def _states(settings: Settings) -> dict[str, bytes]:
    """Return each symbol's state as the next owner would restore it."""
    changelog = topics.changelog_name(settings)
    return newest_states(await read_partitions(settings.kafka_brokers, changelog, settings.events_partitions))
