"""A Faust transport that delivers each fetched partition batch as one stream item.

Faust's cost is per message: two tasks, a lock and a sensor call each. This transport folds the records that
one fetch returned for a partition into a single record whose value is the list, so that this cost is paid
once a batch. An agent on a *batched topic* then reads::

    async for records in stream:          # list[batches.Record], one partition, offsets rising
        for record in records: ...

Everything else (assignment, tables, changelogs, standbys, flow control, back-pressure) is Faust's own. What
changes, and why:

* **Commits.** A batched topic is declared with `acks=False`: Faust then neither acks nor commits it, and
  nothing runs ahead of the state. Offsets are committed by `Consumer.commit_source`, called when the
  snapshots that cover them are safely in the changelog, and only as the member of the generation for which
  they were reckoned: a worker that lost its partitions and has rejoined must not commit what it knew before.
* **Taking over** is `app.recovery`, in the place of Faust's recovery of tables: it seeks each partition to where its
  states go on, not to the committed offset, and only then lets records flow.
* **No blind waits.** Stock Faust long-polls 1.5 s in the one fetch request per broker, and sleeps a second
  while no partition is active; both stop every partition of a worker during a rebalance.
* **An error in the group** is logged and followed by a new join, where stock Faust leaves aiokafka waiting for ever.
* **A right to read that is taken away** is asked for again; stock Faust ends.
* **Heartbeats of the worker's own loop**, not only of the thread that sends them (`app/loop_heartbeat.py`).
* **A broker that is away** when the worker starts is waited for.
* **A frozen set of partitions** goes to each fetch: aiokafka reads a live set that became empty as "all".
* **aiokafka** with what `app.aiokafka_cures` changes of it.
* **Records are sent past Faust's buffer** (`BatchApp.publish`), so that an error is that of its sender alone.
* **A hook before partitions go**, so that the worker can save and commit what it has.

The measurements behind each are in docs/adr/0006-batch-transport.md.
"""

import asyncio
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import suppress
from functools import partial
from math import inf
from typing import Any, Final

import faust
from aiokafka.errors import (
    InconsistentGroupProtocolError,
    KafkaConnectionError,
    KafkaError,
    TopicAuthorizationFailedError,
)
from aiokafka.structs import OffsetAndMetadata
from faust.assignor.partition_assignor import PartitionAssignor
from faust.exceptions import ConsumerNotStarted, ProducerSendError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from app import exit_codes, telemetry
from app.batches import Records, fold
from app.loop_heartbeat import Heartbeat, patience_sec
from app.membership import Membership
from app.recovery import Assigned, Recovery, TakeOver
from app.security.kafka import answer_soon
from tables.records import FORMAT

logger = logging.getLogger(__name__)

FETCH_MAX_WAIT_MS: Final = 25
# A broker that answers each fetch as soon as it has one event costs more than the events: so it waits those 25 ms.
_FETCH_MIN_BYTES: Final = 1 << 20
_UNREACHABLE_SEC: Final = 0.5
_REJOIN_SEC: Final = 0.1
_REFUSED_SEC: Final = 1.0
_AGAIN_SEC: Final = 0.5
_FORBIDDEN_SEC: Final = 5.0
_POLL_SEC: Final = 0.04
_IDLE_SEC: Final = 0.005
_PREFETCH_BACKOFF_SEC: Final = 0.01
_RETRY_BACKOFF_MS: Final = 20


KeyAndValue = tuple[bytes | None, bytes | None]


def _membership(coordinator: Any) -> Membership:
    return Membership(coordinator.member_id, coordinator.generation)


class _Thread(driver.AIOKafkaConsumerThread):
    """The thread that runs aiokafka's consumer, with short waits."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_MAX_WAIT_MS
        consumer._fetch_min_bytes = _FETCH_MIN_BYTES
        consumer._retry_backoff_ms = _RETRY_BACKOFF_MS
        consumer.start = partial(_start_when_reachable, consumer.start)
        return consumer

    async def on_start(self) -> None:
        await super().on_start()
        self._consumer._fetcher._prefetch_backoff = _PREFETCH_BACKOFF_SEC
        coordinator = self._consumer._coordinator
        coordinator._push_error_to_user = partial(_rejoin_after, self.consumer, coordinator)
        heartbeat = Heartbeat(self.parent_loop, coordinator._do_heartbeat, lambda: patience_sec(self.app.rebalancing))
        coordinator._do_heartbeat = heartbeat.beat

    async def logs(self, partitions: Collection[TP]) -> Mapping[TP, tuple[int, int, int | None]]:
        """Return of each partition the first and the next offset of its log, and the group's, `None` if it has none.

        Raises:
            KafkaError: a broker does not answer.
        """
        found: Mapping[TP, tuple[int, int, int | None]] = await self.call_thread(self._logs, list(partitions))
        return found

    async def _logs(self, partitions: list[TP]) -> Mapping[TP, tuple[int, int, int | None]]:
        consumer = self._ensure_consumer()
        begins, ends, committed = await asyncio.gather(
            consumer.beginning_offsets(partitions),
            consumer.end_offsets(partitions),
            consumer._coordinator.fetch_committed_offsets(partitions),
        )
        return {tp: (begins[tp], ends[tp], _offset(committed.get(tp))) for tp in partitions}

    async def seek_all(self, offsets: Mapping[TP, int]) -> None:
        """Let the next records of each partition be those at its offset; one that is not ours any more is left out."""
        await self.call_thread(self._seek_all, offsets)

    async def _seek_all(self, offsets: Mapping[TP, int]) -> None:
        consumer = self._ensure_consumer()
        assigned = consumer.assignment()
        for tp, offset in offsets.items():
            if tp in assigned:
                consumer.seek(tp, offset)

    async def rejoin(self) -> None:
        """Let the group be joined again, and with that everything be taken over again."""
        await self.call_thread(self._rejoin)

    async def _rejoin(self) -> None:
        self._ensure_consumer()._coordinator.request_rejoin()

    def stay_out(self) -> None:
        """Leave the group, and do not join it again; not awaited."""
        if self._consumer is not None and not self.thread_loop.is_closed():
            asyncio.run_coroutine_threadsafe(self._consumer._coordinator.close(), self.thread_loop)

    async def commit_as(self, membership: Membership, offsets: Mapping[TP, int]) -> bool:
        """Commit as `membership`, in one attempt; return whether the group has taken it."""
        return bool(await self.call_thread(self._commit_as, membership, offsets))

    async def _commit_as(self, membership: Membership, offsets: Mapping[TP, int]) -> bool:
        coordinator = self._ensure_consumer()._coordinator
        async with coordinator._commit_lock:
            # aiokafka's own commit would try again and again, in the end as the member that we have become since.
            if _membership(coordinator) != membership or coordinator.coordinator_id is None:
                return False
            try:
                # The request is made, with our generation in it, before this waits for anything.
                await coordinator._do_commit_offsets(None, {tp: OffsetAndMetadata(o, "") for tp, o in offsets.items()})
            except KafkaError as error:
                logger.warning("offsets not committed: %r", error)
                return False
        return True


class _Listener(driver.ConsumerRebalanceListener):
    """Notes who we are in the group at the moment of an assignment; a moment later it may be somebody else."""

    async def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        consumer = self._thread.consumer
        consumer.refused = None
        consumer.membership = _membership(self._thread._ensure_consumer()._coordinator)
        await super().on_partitions_assigned(assigned)


class Consumer(driver.Consumer):
    """Faust's consumer with batches; see the module for what differs from stock and why.

    Attributes:
        membership: who we were in the group when we got the assignment that we have.
        refused: why the group does not take this worker, `None` while it does.
        forbidden_at: monotonic seconds at which Kafka refused to let us read events, for lack of a right.
        commit_failing_since: monotonic seconds since when the group takes no commit, `None` while it does.
    """

    RebalanceListener = _Listener

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.membership = Membership("", -1)
        self.commit_failing_since: float | None = None
        self.refused: str | None = None
        self.forbidden_at = -inf
        super().__init__(*args, **kwargs)

    def _new_consumer_thread(self) -> _Thread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    def stay_out(self) -> None:
        """See `_Thread.stay_out`."""
        self._thread.stay_out()

    @property
    def in_touch(self) -> bool:
        """Whether we know the group's coordinator; not since it failed to answer a heartbeat."""
        coordinator = self._thread._ensure_consumer()._coordinator
        return coordinator is not None and coordinator.coordinator_id is not None

    async def commit_source(
        self, offsets: Mapping[TP, int], membership: Membership, confirm: Collection[TP] = ()
    ) -> bool:
        """Commit the next offsets to read of batched partitions; return whether the group has taken them.

        Args:
            offsets: what is covered, reckoned while we were `membership`.
            membership: who we were then; whoever is somebody else now commits nothing.
            confirm: partitions to commit even if there is nothing new, so that the group says that they are ours.
        """
        wanted = {tp: offset for tp, offset in offsets.items() if tp in confirm or self._should_commit(tp, offset)}
        if not wanted:
            return False
        ahead = {tp: max(offset, self._committed_offset[tp] or 0) for tp, offset in wanted.items()}
        taken: bool = await self._thread.commit_as(membership, ahead)
        if taken:
            self.commit_failing_since = None
            self._committed_offset.update(ahead)
        elif self.commit_failing_since is None:
            self.commit_failing_since = time.monotonic()
        return taken

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Join the group, after the worker has got ready for it."""
        await self.app.before_join()
        await super().subscribe(topics)

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Records:  # noqa: ASYNC109
        try:
            fetched = await super()._getmany(active_partitions, min(timeout, _POLL_SEC))
        except TopicAuthorizationFailedError as error:
            telemetry.ERRORS.labels("events", "forbidden").inc()
            if time.monotonic() - self.forbidden_at > _FORBIDDEN_SEC:
                logger.error("Kafka does not let us read %s; tried again until it does", error)
            self.forbidden_at = time.monotonic()
            # One call tells of one partition.
            await asyncio.sleep(_AGAIN_SEC / max(1, len(active_partitions or ())))
            return {}
        return fold(fetched, self.app.batched_topics)

    @property
    def forbidden(self) -> bool:
        """Whether Kafka has refused within the last seconds to let us read events."""
        return time.monotonic() - self.forbidden_at < _FORBIDDEN_SEC

    async def _wait_next_records(self, timeout: float) -> tuple[Records | None, set[TP] | None]:  # noqa: ASYNC109
        while not self.should_stop:
            if not self.flow_active:
                await self.wait(self.can_resume_flow)
            active = set(self._get_active_partitions())
            if active:
                return await self._getmany(active, timeout), active
            await asyncio.sleep(_IDLE_SEC)
        return None, set()

    async def logs(self, partitions: Collection[TP]) -> Mapping[TP, tuple[int, int, int | None]]:
        """See `_Thread.logs`."""
        found: Mapping[TP, tuple[int, int, int | None]] = await self._thread.logs(partitions)
        # What the group has of a log that is gone must not be committed again for this one.
        self._committed_offset.update(
            {
                tp: committed if committed is not None and committed <= end else None
                for tp, (_, end, committed) in found.items()
            }
        )
        return found

    async def go_on_from(self, offsets: Mapping[TP, int]) -> None:
        """Let each partition be read from its offset."""
        await self._thread.seek_all(offsets)

    async def rejoin(self) -> None:
        """Take everything over again, in a rebalance."""
        await self._thread.rejoin()

    async def perform_seek(self) -> None:
        """Leave positions alone.

        Faust would seek to the committed offsets when a fetch ends while the flow stands still. Each assignment is
        followed by a seek of its own (`go_on_from`), which may go back further, and must be the last.
        """

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Let the worker save and commit while the partitions are still its own, then give them up."""
        self.app.tables.recovery.on_partitions_revoked(revoked)
        await self.hand_over()
        await super().on_partitions_revoked(revoked)

    async def hand_over(self) -> None:
        """Stop the flow of records, drop those not yet processed, and let the worker save and commit.

        Also when the client knows of no assignment any more, because the group has expelled it: records that it
        still has, or has fetched for the next assignment, must not reach state that is of the last.
        """
        self.stop_flow()
        self.app.flow_control.suspend()
        self.app.flow_control.clear()
        await self.app.before_revoke()


class Producer(driver.Producer):
    """Faust's producer, which waits for a broker that is away."""

    def _new_producer(self) -> Any:
        producer = super()._new_producer()
        producer.start = partial(_start_when_reachable, producer.start)
        answer_soon(producer)
        return producer


class Transport(driver.Transport):
    """Faust's transport with this module's consumer and producer."""

    Consumer = Consumer
    Producer = Producer


class BatchApp(faust.App):
    """A Faust app on this transport.

    Attributes:
        batched_topics: topics that are delivered in batches.
        before_join: awaited before the group is joined, and with it others are made to wait.
        before_revoke: awaited while partitions that may go, in a rebalance or at the end, are still our own.
        take_over: awaited when partitions were assigned; answers from which offset each is to be read.
        leave: called when the app has been stopping for so long that somebody else should leave the group for it.
        failure: the exit code with which the worker gives up, and why; `None` as long as it does not.
        failed_at: monotonic seconds at which it did.
    """

    def __init__(self, *args: Any, batched_topics: Iterable[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.batched_topics = frozenset(batched_topics)
        self.before_join: Callable[[], Awaitable[None]] = _nothing
        self.before_revoke: Callable[[], Awaitable[None]] = _nothing
        self.take_over: TakeOver = _from_the_start
        self.leave: Callable[[], None] = lambda: None
        self.failure: tuple[int, str] | None = None
        self.failed_at = inf
        self.tables._recovery = Recovery(self)

    async def publish(
        self, topic: str, partition: int | None, records: Iterable[KeyAndValue], **headers: bytes
    ) -> None:
        """Send records in this order; done when the brokers have all of them.

        Not by Faust's buffer, which ends the worker with the first error: a broker that has just come up knows no
        topic.

        Raises:
            KafkaError: a record may not have arrived.
        """
        producer = await self.maybe_start_producer()
        waiting: list[Awaitable[Any]] = []
        try:
            for key, value in records:
                waiting.append(await producer.send(topic, key, value, partition, None, headers))
        except ProducerSendError as error:
            raise error.__cause__ or KafkaError(str(error)) from error
        finally:
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    def give_up(self, code: int, reason: str) -> None:
        """End the worker with exit code `code`: it saves and commits what it can (for how long: `app.vital`)."""
        if self.failure is not None:
            return
        self.failure, self.failed_at = (code, reason), time.monotonic()
        logger.critical("%s", reason)
        os.kill(os.getpid(), signal.SIGTERM)

    async def _on_agent_error(self, agent: Any, error: BaseException) -> None:
        """Stop the worker: Faust would start the agent anew behind the batch that failed, and leave a hole."""
        logger.critical("the agent %s failed", agent.name, exc_info=error)
        self.give_up(exit_codes.FAILED, f"the agent {agent.name} failed: {error!r}")

    async def _stop_consumer(self) -> None:
        if self._consumer is not None:
            with suppress(ConsumerNotStarted):
                await self._consumer.hand_over()
        await super()._stop_consumer()

    def _new_transport(self) -> Transport:
        return Transport(self.conf.broker_consumer, self)


def _offset(committed: OffsetAndMetadata | None) -> int | None:
    return committed.offset if committed is not None and committed.offset >= 0 else None


class Assignor(PartitionAssignor):
    """Faust's assignor under a name of ours, which the members of a group must have in common.

    Workers that cannot read each other's snapshots must not share a group: the broker refuses the one that comes.
    """

    @property
    def name(self) -> str:
        """Name of the protocol: the format of the changelog is part of it."""
        return f"context8-{FORMAT}"


async def _rejoin_after(consumer: Any, coordinator: Any, error: BaseException) -> None:
    """Join the group again after an error that aiokafka would hand to whoever polls, and wait until he has seen it.

    Faust does not poll in that way: the member would never take part in a rebalance again, nor send a heartbeat.
    """
    if isinstance(error, InconsistentGroupProtocolError):
        refused = "the group has workers of another version, whose snapshots have another format: stop these first"
        if consumer.refused != refused:
            logger.error("%s", refused)
        consumer.refused = refused
        await asyncio.sleep(_REFUSED_SEC)
    else:
        logger.warning("joining the group again after %r", error)
        await asyncio.sleep(_REJOIN_SEC)
    coordinator.request_rejoin()


async def _start_when_reachable(start: Callable[[], Awaitable[None]]) -> None:
    """Start a Kafka client; stock Faust ends the worker if the broker is away in this moment."""
    while True:
        try:
            return await start()
        except KafkaConnectionError as error:
            logger.warning("waiting for Kafka: %s", error)
            await asyncio.sleep(_UNREACHABLE_SEC)


async def _nothing() -> None:
    pass


async def _from_the_start(assigned: Assigned) -> Mapping[TP, int]:
    return dict.fromkeys(assigned.sources, 0)
