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
* **Resume after the seek.** Stock Faust resumes stream partitions before it seeks them to the committed
  offsets, and empties the agents' queues afterwards: what was fetched in between is lost. Here the resume
  waits for the seek.
* **No blind waits.** Stock Faust long-polls 1.5 s in the one fetch request per broker, and sleeps a second
  while no partition is active; both stop every partition of a worker during a rebalance.
* **An error in the group** is logged and followed by a new join, where stock Faust leaves aiokafka waiting for ever.
* **Heartbeats of the worker's own loop**, not only of the thread that sends them (`app/heartbeats.py`).
* **A broker that is away** when the worker starts is waited for.
* **A frozen set of partitions** goes to each fetch: aiokafka reads a live set that became empty as "all".
* **One question for all committed offsets**, where stock Faust asks for one partition after the other.
* **Lean records.** aiokafka makes a dataclass of every record; here it makes a struct of C, as `batches.Record` says.
* **A hook before partitions go**, so that the worker can save and commit what it has.

The measurements behind each are in docs/adr/0006-batch-transport.md.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final

import faust
from aiokafka.consumer import fetcher
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.structs import OffsetAndMetadata
from faust.exceptions import ConsumerNotStarted
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from app.batches import Record, Records, fold
from app.heartbeats import Heartbeat, patience_sec
from app.membership import Membership

logger = logging.getLogger(__name__)

fetcher.ConsumerRecord = Record  # what its name stands for is looked up at each record

FETCH_MAX_WAIT_MS: Final = 25
# A broker that answers each fetch as soon as it has one event costs more than the events: so it waits those 25 ms.
_FETCH_MIN_BYTES: Final = 1 << 20
_UNREACHABLE_SEC: Final = 0.5
_REJOIN_SEC: Final = 0.1
_POLL_SEC: Final = 0.04
_IDLE_SEC: Final = 0.005
_PREFETCH_BACKOFF_SEC: Final = 0.01
_RETRY_BACKOFF_MS: Final = 20


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
        coordinator._push_error_to_user = partial(_rejoin_after, coordinator)
        heartbeat = Heartbeat(self.parent_loop, coordinator._do_heartbeat, lambda: patience_sec(self.app.rebalancing))
        coordinator._do_heartbeat = heartbeat.beat

    async def seek_to_committed(self) -> Mapping[TP, int | None]:
        """Seek every partition to its committed offset; return these, `None` where nothing was committed."""
        offsets: Mapping[TP, int | None] = await self.call_thread(self._seek_to_committed)
        return offsets

    async def _seek_to_committed(self) -> Mapping[TP, int | None]:
        consumer = self._ensure_consumer()
        answer = await consumer._coordinator.fetch_committed_offsets(list(consumer.assignment()))
        offsets: dict[TP, int | None] = {}
        for tp in consumer.assignment():  # which may be another by now
            known = answer.get(tp)
            offsets[tp] = known.offset if known and known.offset >= 0 else None
            if offsets[tp] is not None:
                consumer.seek(tp, offsets[tp])
        return offsets

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


class Consumer(driver.Consumer):
    """Faust's consumer with batches; see the module for what differs from stock and why."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Faust's own __init__ already calls methods that are overridden here.
        self._waiting_for_seek: set[TP] = set()
        self._sought = True
        super().__init__(*args, **kwargs)

    def _new_consumer_thread(self) -> _Thread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    @property
    def membership(self) -> Membership:
        """Who we are in the group, as of the rebalance whose assignment we have."""
        coordinator = self._thread._ensure_consumer()._coordinator
        return Membership(coordinator.member_id, self.app.consumer_generation_id)

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
            self._committed_offset.update(ahead)
        return taken

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Join the group, after the worker has got ready for it."""
        await self.app.before_join()
        await super().subscribe(topics)

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Records:  # noqa: ASYNC109
        fetched = await super()._getmany(active_partitions, min(timeout, _POLL_SEC))
        return fold(fetched, self.app.batched_topics, frozenset(self.app.tables.changelog_topics))

    async def _wait_next_records(self, timeout: float) -> tuple[Records | None, set[TP] | None]:  # noqa: ASYNC109
        while not self.should_stop:
            if not self.flow_active:
                await self.wait(self.can_resume_flow)
            active = set(self._get_active_partitions())
            if active:
                return await self._getmany(active, timeout), active
            await asyncio.sleep(_IDLE_SEC)
        return None, set()

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        """Resume fetching, for streams in a rebalance only once they were sought (`resume_flow`)."""
        now = set(tps)
        streams = {tp for tp in now if not self._is_changelog_tp(tp)} if self.app.rebalancing else set()
        if streams:
            self._waiting_for_seek |= streams
            self._sought = False
        super().resume_partitions(now - streams)

    async def perform_seek(self) -> None:
        """Seek to the committed offsets."""
        await super().perform_seek()
        self._sought = True

    def resume_flow(self) -> None:
        """Let records through again, now also those of sought streams."""
        if self._waiting_for_seek and self._sought:
            waiting, self._waiting_for_seek = self._waiting_for_seek, set()
            super().resume_partitions(waiting)
        super().resume_flow()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Let the worker save and commit while the partitions are still its own, then give them up."""
        self._waiting_for_seek = set()
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
        failure: why the worker gives up, `None` as long as it does not.
    """

    def __init__(self, *args: Any, batched_topics: Iterable[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.batched_topics = frozenset(batched_topics)
        self.before_join: Callable[[], Awaitable[None]] = _nothing
        self.before_revoke: Callable[[], Awaitable[None]] = _nothing
        self.failure: str | None = None

    async def _on_agent_error(self, agent: Any, error: BaseException) -> None:
        """Stop the worker: Faust would start the agent anew behind the batch that failed, and leave a hole."""
        self.failure = f"the agent {agent.name} failed: {error!r}"
        logger.critical("%s", self.failure, exc_info=error)
        os.kill(os.getpid(), signal.SIGTERM)

    async def _stop_consumer(self) -> None:
        if self._consumer is not None:
            with suppress(ConsumerNotStarted):
                await self._consumer.hand_over()
        await super()._stop_consumer()

    def _new_transport(self) -> Transport:
        return Transport(self.conf.broker_consumer, self)


async def _rejoin_after(coordinator: Any, error: BaseException) -> None:
    """Join the group again after an error that aiokafka would hand to whoever polls, and wait until he has seen it.

    Faust does not poll in that way: the member would never take part in a rebalance again, nor send a heartbeat.
    """
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
