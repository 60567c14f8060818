"""The way of events to Kafka: a bounded queue, and one lane for each partition.

`put` is called from NautilusTrader's callbacks, on the same event loop, and never waits. Each lane sends one
batch at a time and takes the next events only when Kafka has acknowledged it, so the order of a symbol holds
through every failure. A batch is built here and handed over whole: one future for hundreds of events instead
of one each.

aiokafka's idempotent producer retries for ever while brokers are away. What it does not survive (a
partition that is long without a leader, a broken sequence) ends the session. The next one begins, after a
pause that grows, with everything not yet acknowledged; so an event may be in the topic twice, and its update
or trade id shows it. Events never overtake one another.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import UnknownTopicOrPartitionError

from app.security.kafka import PLAINTEXT, answer_soon, require_kafka
from producer import backoff
from producer.compression import CODEC, use_fastest_gzip
from producer.event_queue import EventQueue, Lane
from producer.metrics import Metrics
from producer.wire import Kind

if TYPE_CHECKING:
    from app.traces_producer import ProducerTraces

LINGER: Final = 0.005
LINGER_PER_LANE: Final = 0.001  # so that there are at most about 1,000 batches a second, however many lanes there are
FULL: Final = 200  # events that are worth a batch at once; when the loop is late, so is every wait on it
BATCH_BYTES: Final = 512 * 1024  # before compression; brokers refuse batches above 1 MB by default
MAX_EVENT_BYTES: Final = 1_000_000
LEADERLESS_MS: Final = 30_000  # so long a batch waits for its partition's leader before the session is given up
RETRY_FIRST: Final = 0.2
RETRY_LONGEST: Final = 5.0
SILENCE: Final = 5.0  # events that wait this long without one acknowledgement: Kafka is away
OUTAGE_LOOK: Final = 0.5
CLOSE_TIMEOUT: Final = 2.0

log = logging.getLogger(__name__)


class Publisher:
    """Brings events of all symbols to `topic`, in order for each symbol. Needs a running event loop."""

    def __init__(
        self,
        brokers: str,
        topic: str,
        limit: int,
        lost: Callable[[str, str], None],
        metrics: Metrics,
        security: Mapping[str, Any] = PLAINTEXT,
        traces: "ProducerTraces | None" = None,
    ) -> None:
        """Let at most `limit` events wait; call `lost(symbol, reason)` when a book must be fetched anew.

        `security` says how to get in, as `app.security.kafka.kafka_security` makes it.
        """
        self._brokers = brokers
        self._security = security
        self._traces = traces
        self._topic = topic
        self._lost = lost
        self._metrics = metrics
        self._queue = EventQueue(limit, metrics)
        self._in_session = False
        self._answered_at = time.monotonic()
        self._latency: float | None = None
        self._task: asyncio.Task[None] | None = None
        use_fastest_gzip()

    @property
    def waiting(self) -> int:
        """Events that Kafka has not acknowledged."""
        return self._queue.waiting

    @property
    def reachable(self) -> bool:
        """Whether Kafka answers."""
        return self._in_session and (not self.waiting or time.monotonic() - self._answered_at < SILENCE)

    @property
    def latency(self) -> float | None:
        """Seconds from `put` to acknowledgement for the oldest event of the newest batch."""
        return self._latency

    @property
    def oldest_age(self) -> float:
        """For how many seconds the oldest event has waited; 0 where none waits."""
        oldest = self._queue.oldest()
        return 0.0 if oldest is None else time.monotonic() - oldest

    def start(self) -> None:
        """Begin to connect; events may be put before and while there is no connection."""
        self._task = asyncio.create_task(self._run(), name="publisher")

    async def stop(self, limit_sec: float) -> int:
        """Send what waits, for at most `limit_sec` seconds; return how many events could not be sent."""
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_sec):
                await self._queue.empty.wait()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self.waiting:
            log.error("%d events could not be brought to Kafka within %.1f s", self.waiting, limit_sec)
        return self.waiting

    def put(self, symbol: str, kind: Kind, event: bytes) -> None:
        """Queue an event, or turn it away where there is no room (see `producer.admission`).

        Raises:
            ValueError: no broker would take an event of this size.
        """
        if len(event) > MAX_EVENT_BYTES:
            raise ValueError(f"event of {len(event)} bytes, at most {MAX_EVENT_BYTES} are allowed")
        self._queue.put(symbol, kind, event, time.monotonic())

    async def _run(self) -> None:
        delays = backoff.delays(RETRY_FIRST, RETRY_LONGEST)
        while True:
            self._metrics.kafka_session()
            answered_at = self._answered_at
            try:
                await self._session()
            except Exception as error:
                if self._answered_at != answered_at:
                    delays = backoff.delays(RETRY_FIRST, RETRY_LONGEST)
                self._report(error)
            await asyncio.sleep(next(delays))

    async def _session(self) -> None:
        # aiokafka would say only that it found no broker, also where one refuses us.
        await require_kafka(self._brokers, self._security)
        producer = AIOKafkaProducer(
            bootstrap_servers=self._brokers,
            **self._security,
            acks="all",
            enable_idempotence=True,
            compression_type=CODEC,
            max_batch_size=BATCH_BYTES,
            request_timeout_ms=LEADERLESS_MS,
        )
        answer_soon(producer)
        try:
            await producer.start()
            self._queue.spread(len(await producer.partitions_for(self._topic)))
            lanes = self._queue.lanes
            log.info("connected to Kafka at %s, %d partitions", self._brokers, len(lanes))
            self._in_session = True
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._tell_outages())
                for partition, lane in enumerate(lanes):
                    tasks.create_task(self._send(producer, partition, lane))
        finally:
            self._in_session = False
            await _close(producer)

    async def _send(self, producer: Any, partition: int, lane: Lane) -> None:
        while True:
            await lane.filled.wait()
            if len(lane.records) < FULL:
                await self._next_beat()
            if not lane.records:
                continue
            batch = producer.create_batch()
            records, sending = iter(lane.records), None
            if self._traces is not None and (sending := self._traces.begin(lane.records[0].event)) is not None:
                first = next(records)
                batch.append(timestamp=None, key=first.key, value=first.event, headers=sending.headers)
            for record in records:
                if batch.append(timestamp=None, key=record.key, value=record.event) is None:
                    break
            count = lane.sending = batch.record_count()
            oldest = lane.records[0].put_at
            batch.close()
            sent = await (await producer.send_batch(batch, self._topic, partition=partition))
            if sending is not None:
                sending.acknowledged(partition, sent.offset)
            self._acknowledged(lane, count, oldest)

    async def _next_beat(self) -> None:
        """Wait for others to join in; all lanes wait for the same moment, so that their batches share a request."""
        beat = max(LINGER, LINGER_PER_LANE * self._queue.used)
        await asyncio.sleep(beat - time.monotonic() % beat)

    async def _tell_outages(self) -> None:
        answering = True
        while True:
            await asyncio.sleep(OUTAGE_LOOK)
            if self.reachable != answering:
                answering = not answering
                log.error("Kafka %s, %d events wait", "answers again" if answering else "does not answer", self.waiting)

    def _acknowledged(self, lane: Lane, count: int, oldest: float) -> None:
        self._answered_at = time.monotonic()
        self._latency = self._answered_at - oldest
        self._metrics.published(count, self._latency)
        for symbol in self._queue.acknowledged(lane, count):
            self._lost(symbol, "queue_full")

    def _report(self, error: BaseException) -> None:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        self._metrics.error("publisher", error)
        if isinstance(error, UnknownTopicOrPartitionError):
            log.error("topic %s does not exist at %s; `context8 topics` creates it", self._topic, self._brokers)
        else:
            log.error("no session with Kafka at %s, %d events wait: %r", self._brokers, self.waiting, error)


async def _close(producer: Any) -> None:
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT):
            await producer.stop()
    except TimeoutError:
        # `stop` waits for acknowledgements, for ever while brokers are away.
        sender = producer._sender.sender_task
        await producer.client.close()
        if sender is not None:
            sender.cancel()
