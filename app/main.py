"""Composition root of a worker: settings in, a Faust app with its agent, table and cycles out."""

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context, parent_process
from typing import TYPE_CHECKING, Any, Final

import faust
from aiokafka.errors import KafkaError
from faust.types import TP
from prometheus_client import start_http_server

from agents.checkpoints import Checkpoints
from agents.dead_letters import DeadLetters
from agents.intake import Intake
from agents.owned import Owned
from agents.ownership import Ownership
from agents.reports import Reports
from agents.slow import Compute, SlowCycles, compute_here, compute_in
from app import logs, telemetry, traces
from app.health_pages import add_health_pages
from app.last_will import LastWill
from app.microstructure.engine import EngineParams
from app.params import engine_params
from app.security.kafka import faust_credentials, kafka_client
from app.settings import Settings
from app.stores.redis import RedisReportStore
from app.topics import MAX_SNAPSHOT_BYTES
from app.transport import BatchApp
from tables.snapshots import SnapshotTable
from tables.store import STORE_URL
from tables.warm_up import warm_up

if TYPE_CHECKING:
    from app.traces_worker import WorkerTraces

logger = logging.getLogger(__name__)

_HAND_OVER_SEC: Final = 1.0
_STORE_TIMEOUT_SEC: Final = 0.5
_STUCK_SEC: Final = 5.0
_SNAPSHOT_SHARES: Final = 10
_FIRST_REPORT_SEC: Final = 0.02
_ENDS_SEC: Final = 1.0
_METADATA_MS: Final = 250
_HEARTBEAT_SEC: Final = 0.1


def create_app(config: Settings) -> BatchApp:
    """Return the worker's Faust app, ready for `faust worker`."""
    logs.configure("worker", config.node_id, config.log_level, config.secret_values)
    app = _faust_app(config)
    params = engine_params(config)
    store = RedisReportStore(
        config.redis_url,
        password=config.redis_password,
        ca_file=config.redis_ca_file,
        ttl_sec=config.cache_ttl_sec,
        timeout_sec=_STORE_TIMEOUT_SEC,
    )
    owned = Owned()
    table = SnapshotTable(app, config.events_partitions)
    ownership = Ownership(owned, params, table.load, table.write, store)
    snapshot_sec = config.snapshot_interval_ms / 1000
    commit = partial(_commit, app, config.events_topic, owned)
    checkpoints = Checkpoints(owned, table, commit, snapshot_sec, _SNAPSHOT_SHARES)
    tracing = traces.for_worker(config, owned, store.tell_trace)
    reports = Reports(owned, store, config.node_id, traces=tracing)
    backlog = partial(_backlog, app, config.events_topic, owned)

    slow_cycles = SlowCycles(
        owned,
        config.slow_cycle_ms,
        lambda: backlog() > config.slow_lag_events,
        _slow_computation(app, config, params),
    )

    async def fast_cycle() -> None:
        await ownership.take_epochs()
        await slow_cycles.run()
        await reports.run()
        telemetry.BACKLOG.set(backlog())

    app.before_join = partial(warm_up, table, kafka_client(config))
    _consume(app, config, owned, params, tracing)
    _follow_rebalances(app, config, ownership, checkpoints, reports)

    async def first_reports() -> None:
        if not ownership.store_away:
            await ownership.take_epochs()
            await reports.run_first()

    _run_every(app, config.fast_cycle_ms / 1000, fast_cycle)
    _run_every(app, _FIRST_REPORT_SEC, first_reports)
    _run_every(app, snapshot_sec / _SNAPSHOT_SHARES, checkpoints.run)
    _serve(app, config, owned, partial(_problems, app, config, ownership, reports, checkpoints))
    return app


def _consume(
    app: BatchApp, config: Settings, owned: Owned, params: EngineParams, tracing: "WorkerTraces | None"
) -> None:
    dead_letters = DeadLetters(app, config.dlq_topic)
    intake = Intake(owned, params, config.events_partitions, dead_letters.send, traces=tracing)
    # acks=False: offsets are committed behind snapshots, not behind the agent (app/transport.py).
    topic = app.topic(config.events_topic, key_type=bytes, key_serializer="raw", value_serializer="raw", acks=False)

    @app.agent(topic, name="events", concurrency=1)
    async def on_events(stream: Any) -> None:
        async for records in stream:
            intake.take(records)


def _follow_rebalances(
    app: BatchApp, config: Settings, ownership: Ownership, checkpoints: Checkpoints, reports: Reports
) -> None:
    last_will = LastWill(config)

    @app.on_rebalance_complete.connect
    async def assign(_: Any, **__: Any) -> None:
        telemetry.REBALANCES.inc()
        membership = app.consumer.membership
        last_will.member(membership.member_id)
        mine = [tp for tp in app.consumer.assignment() if tp.topic == config.events_topic]
        ownership.assign([tp.partition for tp in mine], membership, await _ends(app, mine))

    async def hand_over() -> None:
        try:
            await asyncio.wait_for(checkpoints.hand_over(), _HAND_OVER_SEC)
            await asyncio.wait_for(reports.run(), _HAND_OVER_SEC)  # fresh ones, for as long as the hand-over takes
        except TimeoutError:
            # Nothing is lost: the next owner reads again what is not committed.
            telemetry.ERRORS.labels("checkpoint", "hand_over_timeout").inc()
            logger.warning("could not save everything within %.1f s of giving partitions up", _HAND_OVER_SEC)

    app.before_revoke = hand_over


async def _ends(app: BatchApp, partitions: list[TP]) -> dict[int, int] | None:
    """Return the next offset of each partition's log, `None` if the broker does not say."""
    if not partitions:
        return {}
    try:
        ends = await asyncio.wait_for(app.consumer.highwaters(*partitions), _ENDS_SEC)
    except (KafkaError, TimeoutError) as error:
        logger.warning("the ends of the partitions are not known, states are trusted unseen: %r", error)
        return None
    return {tp.partition: end for tp, end in ends.items()}


def _problems(
    app: BatchApp, config: Settings, ownership: Ownership, reports: Reports, checkpoints: Checkpoints
) -> list[str]:
    """Return what keeps the worker from doing its work, each in one line."""
    found = []
    if ownership.store_away or reports.store_away:
        found.append("Redis does not take epochs or reports")
    waited = time.monotonic() - checkpoints.completed_at
    if waited > _STUCK_SEC + config.snapshot_interval_ms / 1000:
        found.append(f"Kafka has not taken a snapshot or a commit for {waited:.0f} s")
    if not app.consumer.in_touch:
        found.append("Kafka's group coordinator does not answer")
    return found


def _serve(app: BatchApp, config: Settings, owned: Owned, problems: Callable[[], list[str]]) -> None:
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


def _backlog(app: BatchApp, topic: str, owned: Owned) -> int:
    """Return how many events the broker has that no engine has seen yet."""
    if not owned.partitions:
        return 0  # there may be no consumer to ask yet
    backlog, assigned = 0, app.consumer.assignment()
    for partition, progress in owned.partitions.items():
        if TP(topic, partition) not in assigned:
            continue  # in a rebalance
        end = app.consumer.highwater(TP(topic, partition))
        if end and progress.position >= 0:
            backlog += max(0, end - progress.position - 1)
    return backlog


async def _commit(
    app: BatchApp, topic: str, owned: Owned, offsets: Mapping[int, int], confirm: Collection[int]
) -> bool:
    if owned.membership is None:
        return False
    wanted = {TP(topic, partition): offset for partition, offset in offsets.items()}
    return bool(
        await app.consumer.commit_source(wanted, owned.membership, {TP(topic, partition) for partition in confirm})
    )


def _run_every(app: BatchApp, seconds: float, run: Callable[[], Awaitable[None]]) -> None:
    """Run at a steady pace while the app lives; a run that takes too long skips the beats it missed."""

    @app.task
    async def cycle() -> None:
        due = time.monotonic()
        while not app.should_stop:
            due = max(due + seconds, time.monotonic())
            await asyncio.sleep(due - time.monotonic())
            try:
                await run()
            except Exception:  # a cycle must come again, whatever befell this one
                telemetry.ERRORS.labels("worker", "cycle").inc()
                logger.exception("cycle failed")


def _faust_app(config: Settings) -> BatchApp:
    config.data_dir.mkdir(parents=True, exist_ok=True)
    session_sec = config.session_timeout_ms / 1000
    return BatchApp(
        config.worker_group,
        batched_topics=[config.events_topic],
        broker=[f"kafka://{address}" for address in config.kafka_brokers.split(",")],
        broker_credentials=faust_credentials(config),
        store=STORE_URL,
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
        # Each heartbeat asks whether others came or went: what is missed here is missed by the reports.
        broker_heartbeat_interval=min(_HEARTBEAT_SEC, session_sec / 10),
        producer_acks=-1,
        producer_max_request_size=MAX_SNAPSHOT_BYTES,
        web_bind=config.metrics_host,
        web_host="127.0.0.1",
        web_port=config.worker_web_port,
        worker_redirect_stdouts=False,
        Worker=_QuietWorker,
    )


class _QuietWorker(faust.Worker):
    """Faust's worker, leaving logs as this process configured them."""

    def _setup_logging(self) -> None:
        self.spinner = None
