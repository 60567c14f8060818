"""Composition root of a worker: settings in, a Faust app with its agent, table and cycles out."""

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import partial
from multiprocessing import get_context, parent_process
from typing import Any, Final

import faust
from aiokafka import AIOKafkaConsumer
from aiokafka.client import AIOKafkaClient
from faust.types import TP
from prometheus_client import start_http_server

from agents.admission import Admission
from agents.checkpoints import Checkpoints
from agents.dead_letters import DeadLetters
from agents.forgetting import Forgetting
from agents.intake import Intake
from agents.owned import Owned
from agents.ownership import Ownership
from agents.repeats import Repeats
from agents.reports import Reports
from agents.slow import Compute, SlowCycles, compute_here, compute_in
from app import aiokafka_cures, exit_codes, logs, telemetry, traces, vital
from app.health_pages import add_health_pages
from app.kafka_connections import REQUEST_MS
from app.leave_on_death import LeaveOnDeath
from app.microstructure.engine import EngineParams
from app.params import engine_params
from app.recovery import Assigned
from app.security.kafka import faust_credentials, kafka_client
from app.settings import Settings
from app.source import Source
from app.stores.base import StoreUnavailableError
from app.stores.redis import RedisReportStore
from app.topic_changes import TopicChanges
from app.topic_watch import TopicWatch
from app.topics import MAX_RECORD_BYTES
from app.transport import Assignor, BatchApp
from app.worker_health import Problem, WorkerHealth
from tables.database import Database, DatabaseError
from tables.follower import Follower
from tables.snapshots import SnapshotTable

logger = logging.getLogger(__name__)

_HAND_OVER_SEC: Final = 1.0
_STORE_TIMEOUT_SEC: Final = 0.5
_SNAPSHOT_SHARES: Final = 10
_SILENT_SHARE: Final = 0.5
_FIRST_REPORT_SEC: Final = 0.02
_TOPICS_SEC: Final = 1.0
_LOOK_SEC: Final = 1.0
_FORGET_SEC: Final = 5.0
_GIVE_UP_SEC: Final = 5.0
_METADATA_MS: Final = 250
_HEARTBEAT_SEC: Final = 0.1
# A worker that stops hands over and leaves its group within 2 s or so. One that hangs in that is taken out of the group
# by its watcher, and ended before its container is (deploy/k8s, docker-compose.yml).
_LEAVE_SEC: Final = 4.0
_STOP_SEC: Final = 15.0


def create_app(config: Settings) -> BatchApp:
    """Return the worker's Faust app, ready for `faust worker`."""
    logs.configure("worker", config.node_id, config.log_level, config.secret_values)
    aiokafka_cures.install()
    app = _faust_app(config)
    params = engine_params(config)
    store = RedisReportStore(
        config.redis_url,
        password=config.redis_password,
        ca_file=config.redis_ca_file,
        sentinel_password=config.redis_sentinel_password,
        prefix=config.redis_prefix,
        ttl_sec=config.cache_ttl_sec,
        timeout_sec=_STORE_TIMEOUT_SEC,
    )
    owned = Owned()
    table = SnapshotTable(app, app.publish, config.events_partitions, Database(config.data_dir / "snapshots"))
    watch = TopicWatch(lambda: AIOKafkaClient(**kafka_client(config)), config.events_topic, table.changelog_topic)
    follower = Follower(
        table.changelog_topic,
        table.database,
        partial(AIOKafkaConsumer, **kafka_client(config)),
        partial(watch.log_of, table.changelog_topic),
    )
    source = Source(app, config.events_topic, owned, watch)
    ownership = Ownership(owned, params, table.load, table.write, store, wall_ns=store.clock.now_ns)
    snapshot_sec = config.snapshot_interval_ms / 1000
    checkpoints = Checkpoints(owned, table, source.commit, snapshot_sec, _SNAPSHOT_SHARES)
    tracing = traces.for_worker(config, owned, store.tell_trace)
    reports = Reports(
        *(owned, store, config.node_id),
        wall_ns=store.clock.now_ns,
        traces=tracing,
        silent_sec=config.fast_cycle_ms / 1000 * _SILENT_SHARE,
    )

    def lagging() -> bool:
        return source.backlog() > config.slow_lag_events

    slow_cycles = SlowCycles(
        owned,
        config.slow_cycle_ms,
        lagging,
        _slow_computation(app, config, params),
    )

    async def fast_cycle() -> None:
        await ownership.take_epochs()
        await slow_cycles.run()
        await reports.run()
        telemetry.BACKLOG.set(source.backlog())

    dead_letters = DeadLetters(app.publish, config.dlq_topic)
    admission = Admission(owned, config.worker_symbols, config.partition_symbols)
    intake = Intake(
        *(owned, params, config.events_partitions, dead_letters.send, source),
        wall_ns=store.clock.now_ns,
        traces=tracing,
        admission=admission,
    )
    forgetting = Forgetting(
        *(owned, table, store, admission, config.forget_after_sec, reports.publishing, checkpoints.running)
    )
    _consume(app, config.events_topic, intake)
    leaver = LeaveOnDeath(config)
    _take_over(app, follower, source, ownership, leaver)
    _hand_over(app, checkpoints, reports)

    async def first_reports() -> None:
        if not ownership.store_away:
            await ownership.take_epochs()
            await reports.run_first()

    topic_changes = TopicChanges(app, watch, follower, config.events_topic, config.events_partitions)
    health = WorkerHealth(
        *(app, owned, store, ownership, reports, checkpoints, follower, source, dead_letters, admission, leaver),
        Repeats(owned, lagging),
        topic_changes,
        snapshot_sec=snapshot_sec,
    )

    async def look() -> None:
        health.look()
        await leaver.look()

    cycles = [
        _run_every(app, config.fast_cycle_ms / 1000, fast_cycle),
        _run_every(app, _FIRST_REPORT_SEC, first_reports),
        _run_every(app, snapshot_sec / _SNAPSHOT_SHARES, checkpoints.run),
        _run_every(app, _TOPICS_SEC, topic_changes.run),
        _run_every(app, _LOOK_SEC, look),
        _run_every(app, _FORGET_SEC, forgetting.run),
    ]
    _before_join(app, table, follower, store, _vital_watch(app, follower, health, cycles))
    _serve(app, config, owned, health.problems)
    return app


def _consume(app: BatchApp, topic_name: str, intake: Intake) -> None:
    # acks=False: offsets are committed behind snapshots, not behind the agent (app/transport.py).
    topic = app.topic(topic_name, key_type=bytes, key_serializer="raw", value_serializer="raw", acks=False)

    @app.agent(topic, name="events", concurrency=1)
    async def on_events(stream: Any) -> None:
        async for records in stream:
            intake.take(records)


def _take_over(app: BatchApp, follower: Follower, source: Source, ownership: Ownership, leaver: LeaveOnDeath) -> None:
    async def take_over(assigned: Assigned) -> Mapping[TP, int]:
        telemetry.REBALANCES.inc()
        leaver.member(assigned.membership.member_id)
        follower.follow({tp.partition for tp in assigned.actives | assigned.standbys})
        mine = [tp.partition for tp in assigned.sources]
        # The copies of the changelog first: what is written to it later is by somebody who does not own it any more.
        await follower.caught_up(mine)
        logs = await source.logs(mine)
        new = [each for each in mine if not ownership.stays(each, assigned.membership, logs[each])]
        found = {each: ownership.look(each, logs[each]) for each in new}
        if lacking := [each for each, records in found.items() if any(one.missing for one in records.values())]:
            # Whatever the local copy lacks, the changelog may have.
            for partition in lacking:
                follower.read_again(partition)
            await follower.caught_up(lacking)
            found |= {each: ownership.look(each, logs[each]) for each in lacking}
        return source.starts(ownership.assign(logs, assigned.membership, found))

    def leave() -> None:
        leaver.leave()
        # Else it would learn with its next heartbeat that it is no member, and take partitions that it cannot serve.
        app.consumer.stay_out()

    app.take_over, app.leave = take_over, leave


def _before_join(
    app: BatchApp,
    table: SnapshotTable,
    follower: Follower,
    store: RedisReportStore,
    watch: Callable[[], Coroutine[Any, Any, None]],
) -> None:
    watching: list[asyncio.Task[None]] = []

    async def before_join() -> None:
        if watching:
            return
        watching.append(asyncio.create_task(watch(), name="vital watch"))
        try:
            table.database.open()
        except DatabaseError as error:
            app.give_up(exit_codes.CANNOT_START, str(error))
            raise
        follower.start()
        # Else the first events of all would be held against this host's clock, which may be years behind.
        with suppress(StoreUnavailableError):
            await store.ask_time()
        await follower.warm_up(table.partitions)

    app.before_join = before_join


def _hand_over(app: BatchApp, checkpoints: Checkpoints, reports: Reports) -> None:
    async def hand_over() -> None:
        try:
            await asyncio.wait_for(checkpoints.hand_over(), _HAND_OVER_SEC)
            await asyncio.wait_for(reports.run(), _HAND_OVER_SEC)  # fresh ones, for as long as the hand-over takes
        except TimeoutError:
            # Nothing is lost: the next owner reads again what is not committed.
            telemetry.ERRORS.labels("checkpoint", "hand_over_timeout").inc()
            logger.warning("could not save everything within %.1f s of giving partitions up", _HAND_OVER_SEC)

    app.before_revoke = hand_over


def _vital_watch(
    app: BatchApp, follower: Follower, health: WorkerHealth, cycles: Sequence["Cycle"]
) -> Callable[[], Coroutine[Any, Any, None]]:
    """Return what ends the worker when something has ended without which it does not work."""

    def parts() -> Iterator[tuple[str, Any]]:
        yield from vital.kafka_parts(app.consumer, app._producer)
        yield "task that follows the changelog", follower.task
        yield from ((f"cycle {cycle.name}", cycle.task) for cycle in cycles)
        if (takeover := app.tables.recovery.task) is not None and takeover.done() and not takeover.cancelled():
            yield from ((("takeover", takeover),) if takeover.exception() is not None else ())

    def hopeless() -> tuple[int, str] | None:
        if follower.failure is not None:
            return exit_codes.CANNOT_START, follower.failure
        if time.monotonic() - app.failed_at > _GIVE_UP_SEC:
            return app.failure
        if app.should_stop:
            return None
        reason = health.hopeless() or vital.ended(parts())
        return (exit_codes.CRASHED, reason) if reason is not None else None

    return partial(vital.watch, hopeless)


def _serve(app: BatchApp, config: Settings, owned: Owned, problems: Callable[[], list[Problem]]) -> None:
    @app.task
    async def serve_metrics() -> None:
        start_http_server(config.metrics_port, addr=config.metrics_host)

    add_health_pages(app, config, owned, problems)


def _slow_computation(app: BatchApp, config: Settings, params: EngineParams) -> Compute:
    if config.slow_cycle_mode == "skip":
        return compute_here
    # Spawned, not forked: a fork would carry Kafka's threads and RocksDB's locks along.
    # Its resource tracker outlives us, and says in plain text what it clears up if we are killed.
    sys.warnoptions.append("ignore:resource_tracker:UserWarning")
    pool = ProcessPoolExecutor(1, get_context("spawn"), _begin_slow, (config.node_id, config.log_level))

    @app.on_before_shutdown.connect
    async def stop(_: Any, **__: Any) -> None:
        pool.shutdown(wait=False, cancel_futures=True)

    return compute_in(pool, params)


def _begin_slow(node_id: str, level: str) -> None:
    """Get a process for slow cycles ready: it logs as we do, leaves Ctrl-C in a terminal to us, and ends with us."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logs.configure("worker", node_id, level)
    threading.Thread(target=_end_with, args=(parent_process(),), daemon=True).start()


def _end_with(parent: Any) -> None:
    # It waits for work on a pipe of which it has both ends, and would wait for ever where we were killed.
    parent.join()
    os._exit(0)


class Cycle:
    """Something that is done at a steady pace; `task` is where, once it has begun."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.task: asyncio.Task[Any] | None = None


def _run_every(app: BatchApp, seconds: float, run: Callable[[], Awaitable[None]]) -> Cycle:
    """Run at a steady pace while the app lives; a run that takes too long skips the beats it missed."""
    cycle = Cycle(getattr(run, "__qualname__", repr(run)))

    @app.task
    async def keep_running() -> None:
        cycle.task = asyncio.current_task()
        due = time.monotonic()
        while not app.should_stop:
            due = max(due + seconds, time.monotonic())
            await asyncio.sleep(due - time.monotonic())
            try:
                await run()
            except Exception:  # a cycle must come again, whatever befell this one
                telemetry.ERRORS.labels("worker", "cycle").inc()
                logger.exception("cycle failed")

    return cycle


def _faust_app(config: Settings) -> BatchApp:
    config.data_dir.mkdir(parents=True, exist_ok=True)
    session_sec = config.session_timeout_ms / 1000
    return BatchApp(
        config.worker_group,
        batched_topics=[config.events_topic],
        broker=[f"kafka://{address}" for address in config.kafka_brokers.split(",")],
        broker_credentials=faust_credentials(config),
        store="memory://",
        datadir=str(config.data_dir),
        autodiscover=False,
        topic_partitions=config.events_partitions,
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=1,
        consumer_auto_offset_reset="earliest",
        # A group's leader that does not know the topics, because the broker was just coming up, assigns nothing; and
        # in a rebalance aiokafka may wait for the next of these requests before it asks where the changelog ends.
        consumer_metadata_max_age_ms=_METADATA_MS,
        stream_wait_empty=False,
        stream_buffer_maxsize=64,
        stream_recovery_delay=0.0,
        broker_session_timeout=session_sec,
        broker_request_timeout=max(REQUEST_MS / 1000, session_sec),
        # Each heartbeat asks whether others came or went: what is missed here is missed by the reports.
        broker_heartbeat_interval=min(_HEARTBEAT_SEC, session_sec / 10),
        producer_acks=-1,
        producer_max_request_size=MAX_RECORD_BYTES,
        web_bind=config.metrics_host,
        web_host="127.0.0.1",
        web_port=config.worker_web_port,
        worker_redirect_stdouts=False,
        Worker=_QuietWorker,
        PartitionAssignor=Assignor,
    )


class _QuietWorker(faust.Worker):
    """Faust's worker, leaving logs as this process configured them, and stopping in time."""

    def _setup_logging(self) -> None:
        self.spinner = None

    async def stop(self) -> None:
        """Stop, or leave the group and end in spite of what does not stop."""
        code, _ = self.app.failure or (exit_codes.CRASHED, "")
        vital.end_within(_STOP_SEC, code)
        self.loop.call_later(_LEAVE_SEC, self.app.leave)
        await super().stop()
