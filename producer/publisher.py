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
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import UnknownTopicOrPartitionError
from aiokafka.partitioner import DefaultPartitioner

from producer import backoff
from producer.admission import Admission
from producer.metrics import Metrics
from producer.wire import Kind

LINGER: Final = 0.005
BATCH_BYTES: Final = 512 * 1024  # brokers refuse batches above 1 MB by default
MAX_EVENT_BYTES: Final = 1_000_000
REQUEST_TIMEOUT_MS: Final = 10_000
RETRY_FIRST: Final = 0.2
RETRY_LONGEST: Final = 5.0
SILENCE: Final = 5.0  # events that wait this long without one acknowledgement: Kafka is away
OUTAGE_LOOK: Final = 0.5
CLOSE_TIMEOUT: Final = 2.0

log = logging.getLogger(__name__)

_Record = tuple[bytes, bytes]
_partition: Final = DefaultPartitioner()  # murmur2 of the key, like every Kafka client's default


class _Lane:
    """Events of one partition, oldest first."""

    def __init__(self) -> None:
        self.records: deque[_Record] = deque()
        self.filled = asyncio.Event()

    def add(self, record: _Record) -> None:
        self.records.append(record)
        self.filled.set()

    def drop_oldest(self, count: int) -> None:
        for _ in range(count):
            self.records.popleft()
        if not self.records:
            self.filled.clear()


class Publisher:
    """Brings events of all symbols to `topic`, in order for each symbol. Needs a running event loop."""

    def __init__(
        self, brokers: str, topic: str, limit: int, lost: Callable[[str, str], None], metrics: Metrics
    ) -> None:
        """Let at most `limit` events wait; call `lost(symbol, reason)` when a book must be fetched anew."""
        self._brokers = brokers
        self._topic = topic
        self._limit = limit
        self._lost = lost
        self._metrics = metrics
        self._admission = Admission(limit)
        self._refused = 0
        self._waiting = 0
        self._flushed = asyncio.Event()
        self._flushed.set()
        # One lane until Kafka has said how many partitions there are.
        self._lanes = [_Lane()]
        self._routes: dict[bytes, _Lane] = {}
        self._in_session = False
        self._answered_at = time.monotonic()
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Events that Kafka has not acknowledged."""
        return self._waiting

    @property
    def reachable(self) -> bool:
        """Whether Kafka answers."""
        return self._in_session and (not self._waiting or time.monotonic() - self._answered_at < SILENCE)

    def start(self) -> None:
        """Begin to connect; events may be put before and while there is no connection."""
        self._task = asyncio.create_task(self._run(), name="publisher")

    async def stop(self, limit_sec: float) -> int:
        """Send what waits, for at most `limit_sec` seconds; return how many events could not be sent."""
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_sec):
                await self._flushed.wait()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._waiting:
            log.error("%d events could not be brought to Kafka within %.1f s", self._waiting, limit_sec)
        return self._waiting

    def put(self, symbol: str, kind: Kind, event: bytes) -> None:
        """Queue an event, or turn it away where there is no room (see `producer.admission`).

        Raises:
            ValueError: no broker would take an event of this size.
        """
        if len(event) > MAX_EVENT_BYTES:
            raise ValueError(f"event of {len(event)} bytes, at most {MAX_EVENT_BYTES} are allowed")
        if not self._admission.admits(symbol, kind, self._waiting):
            self._refuse(symbol, kind)
            return
        key = symbol.encode()
        self._lane(key).add((key, event))
        self._waiting += 1
        self._flushed.clear()

    def _refuse(self, symbol: str, kind: Kind) -> None:
        self._metrics.dropped(symbol, kind)
        if not self._refused:
            log.error("queue to Kafka is full: %d events wait, dropping events of %s", self._waiting, symbol)
        self._refused += 1

    def _lane(self, key: bytes) -> _Lane:
        lane = self._routes.get(key)
        if lane is None:
            partitions = range(len(self._lanes))
            lane = self._routes[key] = self._lanes[_partition(key, partitions, partitions)]
        return lane

    def _set_lanes(self, count: int) -> None:
        """Spread what waits over `count` partitions; a symbol's events share a lane before and after."""
        if count == len(self._lanes):
            return
        waiting = [record for lane in self._lanes for record in lane.records]
        self._lanes = [_Lane() for _ in range(count)]
        self._routes.clear()
        for record in waiting:
            self._lane(record[0]).add(record)

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
        producer = AIOKafkaProducer(
            bootstrap_servers=self._brokers,
            acks="all",
            enable_idempotence=True,
            max_batch_size=BATCH_BYTES,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
        )
        try:
            await producer.start()
            self._set_lanes(len(await producer.partitions_for(self._topic)))
            log.info("connected to Kafka at %s, %d partitions", self._brokers, len(self._lanes))
            self._in_session = True
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._tell_outages())
                for partition, lane in enumerate(self._lanes):
                    tasks.create_task(self._send(producer, partition, lane))
        finally:
            self._in_session = False
            await _close(producer)

    async def _send(self, producer: Any, partition: int, lane: _Lane) -> None:
        while True:
            await lane.filled.wait()
            await asyncio.sleep(LINGER)
            batch = producer.create_batch()
            for key, event in lane.records:
                if batch.append(timestamp=None, key=key, value=event) is None:
                    break
            count = batch.record_count()
            batch.close()
            await (await producer.send_batch(batch, self._topic, partition=partition))
            lane.drop_oldest(count)
            self._acknowledged(count)

    async def _tell_outages(self) -> None:
        answering = True
        while True:
            await asyncio.sleep(OUTAGE_LOOK)
            if self.reachable != answering:
                answering = not answering
                log.error(
                    "Kafka %s, %d events wait", "answers again" if answering else "does not answer", self._waiting
                )

    def _acknowledged(self, count: int) -> None:
        self._answered_at = time.monotonic()
        self._metrics.published(count)
        self._waiting -= count
        if not self._waiting:
            self._flushed.set()
        if self._refused and self._waiting <= self._limit // 2:
            log.error("queue to Kafka has room again, %d events were dropped", self._refused)
            self._refused = 0
        for symbol in self._admission.recovered(self._waiting):
            self._lost(symbol, "queue_full")

    def _report(self, error: BaseException) -> None:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        self._metrics.error("publisher", error)
        if isinstance(error, UnknownTopicOrPartitionError):
            log.error("topic %s does not exist at %s; `context8 topics` creates it", self._topic, self._brokers)
        else:
            log.error("no session with Kafka at %s, %d events wait: %r", self._brokers, self._waiting, error)


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
