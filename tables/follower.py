"""Follows the changelog: what its brokers have of the partitions that matter to this worker is soon in its database.

One task reads with a consumer of its own, outside of the group and outside of Faust, and is the only writer of the
database. Each fetch enters as one batch together with the position behind it (`tables.database`), so the copy of a
partition is a prefix of its log at any moment: for one that we own, for one whose standby we are, and for one that
nobody here has asked for yet. What this worker writes to the changelog comes back to it in this way too.

Whatever goes wrong (a broker that is away, a connection that breaks in the middle of a fetch, an error nobody has
thought of) ends in the same place: a new consumer, which begins at the positions that the database holds.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError, OffsetOutOfRangeError

from app import telemetry, vital
from app.batches import Unreadable
from app.topic_ids import LogId
from tables.database import Database, DatabaseError, Position

logger = logging.getLogger(__name__)

_FETCH_MS: Final = 100
_PAUSE_SEC: Final = 0.1
_MAX_PAUSE_SEC: Final = 2.0
_MAX_BATCH_BYTES: Final = 8 << 20
_METADATA_MS: Final = 1_000
_WARM_UP_SEC: Final = 30.0
# Beyond that nobody answers any more: a consumer in which a task has died waits for ever.
_ANSWER_SEC: Final = 2.0

Client = Callable[..., AIOKafkaConsumer]
"""Makes a consumer that knows where the brokers are and how to get in."""
LogOf = Callable[[], Awaitable[LogId | None]]
"""Says which log the changelog is now. Raises KafkaError while no broker does."""


class Follower:
    """Reads partitions of `topic` into `database`.

    Attributes:
        failure: why nothing is read any more, `None` while it is.
        in_touch_at: monotonic seconds at which the brokers last answered.
    """

    def __init__(self, topic: str, database: Database, client: Client, log_of: LogOf) -> None:
        self._topic = topic
        self._database = database
        self._client = client
        self._log_of = log_of
        self._wanted: frozenset[int] = frozenset()
        self._changed = asyncio.Event()
        self._moved = asyncio.Condition()
        self._consumer: AIOKafkaConsumer | None = None
        # A broker answers a connection's requests one by one, and a fetch may wait: questions go over another.
        self._asker: AIOKafkaConsumer | None = None
        self._asking = asyncio.Lock()
        self._next: dict[int, int] = {}  # the offset at which the next fetch of a partition begins
        self._task: asyncio.Task[None] | None = None
        self.failure: str | None = None
        self.in_touch_at = time.monotonic()

    def start(self) -> None:
        """Begin to read what `follow` names."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="changelog follower")

    async def stop(self) -> None:
        """Read no more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    @property
    def task(self) -> "asyncio.Task[None] | None":
        """The task that reads, to be watched."""
        return self._task

    def follow(self, partitions: Collection[int]) -> None:
        """Read exactly these partitions from now on."""
        wanted = frozenset(partitions)
        if wanted != self._wanted:
            self._wanted = wanted
            self._changed.set()

    async def warm_up(self, partitions: int) -> None:
        """Read what the changelog has now, of all partitions, before the group is joined and others made to wait.

        A newcomer is given partitions at once and must have read their changelog before it can go on with them: until
        then nobody reports their symbols. Whatever keeps it from reading beforehand is left to the takeover.
        """
        began, every = time.monotonic(), range(partitions)
        self.follow(every)
        try:
            await asyncio.wait_for(self.caught_up(every), _WARM_UP_SEC)
        except TimeoutError:
            logger.warning("the changelog could not be read ahead within %.0f s, joining takes longer", _WARM_UP_SEC)
        else:
            logger.info("read the changelog ahead in %.2f s", time.monotonic() - began)

    async def caught_up(self, partitions: Collection[int]) -> None:
        """Wait until the copies of `partitions`, which are followed, have all that the changelog has now.

        Raises:
            DatabaseError: the follower has given up.
        """
        ends: Mapping[TopicPartition, int] | None = None
        while partitions:
            if self.failure is not None:
                raise DatabaseError(self.failure)
            if ends is None:
                ends = await self._ends(partitions)
            if ends is not None and all(
                self._database.position(tp.partition).offset >= end for tp, end in ends.items()
            ):
                return
            async with self._moved:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._moved.wait(), _PAUSE_SEC)

    def read_again(self, partition: int) -> None:
        """Forget the copy of `partition`, which lacks what it should have, and read all of it again."""
        telemetry.ERRORS.labels("changelog", "read_again").inc()
        logger.error("changelog partition %d is read again from its start", partition)
        self._database.begin(partition, Position(self._database.position(partition).log, 0))
        self._changed.set()

    def other_log(self) -> None:
        """Look again which log the changelog is: it may have been made again."""
        self._changed.set()

    async def _ends(self, partitions: Collection[int]) -> Mapping[TopicPartition, int] | None:
        """Return the next offset of each partition's log, `None` while the brokers do not say."""
        try:
            async with self._asking:
                if self._asker is None:
                    return None
                asked = self._asker.end_offsets([TopicPartition(self._topic, each) for each in partitions])
                ends = await asyncio.wait_for(asked, _ANSWER_SEC)
        except (KafkaError, OSError, TimeoutError, RuntimeError) as error:
            logger.warning("the ends of the changelog are not known yet: %r", error)
            return None
        return dict(ends)

    async def _run(self) -> None:
        pause = _PAUSE_SEC
        while True:
            began = time.monotonic()
            try:
                await self._follow()
            except DatabaseError as error:
                self.failure = str(error)
                async with self._moved:
                    self._moved.notify_all()
                return
            except Exception as error:  # the position is in the database: begin again there, whatever it was
                telemetry.ERRORS.labels("changelog", "follow").inc()
                logger.warning("reading the changelog again from where it was: %r", error)
            if time.monotonic() - began > _MAX_PAUSE_SEC:
                pause = _PAUSE_SEC
            await asyncio.sleep(pause)
            pause = min(2 * pause, _MAX_PAUSE_SEC)

    async def _follow(self) -> None:
        consumer, asker = (
            self._client(
                auto_offset_reset="none",
                enable_auto_commit=False,
                fetch_max_bytes=_MAX_BATCH_BYTES,
                max_partition_fetch_bytes=_MAX_BATCH_BYTES,
                fetch_max_wait_ms=_FETCH_MS,
                metadata_max_age_ms=_METADATA_MS,
            )
            for _ in range(2)
        )
        try:
            await asyncio.gather(consumer.start(), asker.start())
            self._consumer, self._asker = consumer, asker
            self._changed.set()
            while True:
                if self._changed.is_set():
                    self._changed.clear()
                    await self._assign(consumer, asker)
                if not consumer.assignment():
                    await self._changed.wait()
                    continue
                _require_alive(consumer, asker)
                await self._take(consumer)
        finally:
            self._consumer = None
            async with self._asking:  # one that is asked while it closes opens a connection that nobody closes
                self._asker = None
                await asyncio.gather(_stop(consumer), _stop(asker))

    async def _assign(self, consumer: AIOKafkaConsumer, asker: AIOKafkaConsumer) -> None:
        """Read what is wanted, each partition from its position."""
        tps = [TopicPartition(self._topic, partition) for partition in sorted(self._wanted)]
        if not tps:
            consumer.unsubscribe()
            return
        log = await self._log_of()
        begins = await asyncio.wait_for(asker.beginning_offsets(tps), _ANSWER_SEC)
        consumer.assign(tps)
        for tp in tps:
            self._guard(self._join_on, tp.partition, log, begins[tp])
        # Only now: a database that had to be made again has other positions for all.
        self._next = {tp.partition: self._database.position(tp.partition).offset for tp in tps}
        for tp in tps:
            consumer.seek(tp, self._next[tp.partition])

    def _join_on(self, partition: int, log: LogId | None, begin: int) -> None:
        """Make the position of `partition` one from which its log can be read."""
        known = self._database.position(partition)
        if known.log is not None and log is not None and known.log != log:
            telemetry.ERRORS.labels("changelog", "other_log").inc()
            logger.warning(
                "changelog %s-%d is another log than the one that the data folder knows (%s, was %s): reading it from"
                " the start",
                *(self._topic, partition, log, known.log),
            )
            self._database.begin(partition, Position(log, begin))
        elif known.log is None and log is not None:
            if known.offset > 0:  # a copy of a log without a name: it may be any
                self._database.begin(partition, Position(log, begin))
            else:
                self._database.adopt(partition, log)
        if self._database.position(partition).offset < begin:
            # Compaction leaves the start of a log where it is; so this is a new copy, or records were deleted.
            self._database.begin(partition, Position(log, begin))

    async def _take(self, consumer: AIOKafkaConsumer) -> None:
        """Put one fetch into the database."""
        try:
            fetched = await consumer.getmany(timeout_ms=_FETCH_MS)
        except OffsetOutOfRangeError as error:
            for tp in error.args[0]:
                telemetry.ERRORS.labels("changelog", "offset_out_of_range").inc()
                logger.error("changelog %s-%d has no longer what was to be read next", tp.topic, tp.partition)
                self._guard(self._database.begin, tp.partition, Position(None, 0))
            self._changed.set()
            return
        self.in_touch_at = time.monotonic()
        for tp, records in fetched.items():
            if self._changed.is_set():
                return  # positions are others now, and this was read from the old ones
            start, end = self._next[tp.partition], await consumer.position(tp)
            if records[0].offset < start:
                raise IllegalStateError(f"{tp} goes back from {start} to {records[0].offset}")
            _tell_unreadable(records)
            self._guard(self._database.apply, tp.partition, start, _newest(records), end)
            self._next[tp.partition] = end
        async with self._moved:
            self._moved.notify_all()

    def _guard(self, write: Callable[..., None], *args: Any) -> None:
        """Write to the database; one that is broken is made again, and everything read again."""
        try:
            write(*args)
        except (ValueError, DatabaseError):
            raise
        except Exception as error:  # RocksDB's errors have no type of their own
            self._database.rebuild(error)
            self._changed.set()


def _require_alive(*consumers: AIOKafkaConsumer) -> None:
    """Raise IllegalStateError if a task has died without which one of them gets nothing."""
    for consumer in consumers:
        if (dead := vital.ended(vital.consumer_parts(consumer))) is not None:
            raise IllegalStateError(dead)


async def _stop(consumer: AIOKafkaConsumer) -> None:
    """Stop `consumer`; whatever its own tasks have died of stays theirs."""
    stopping = asyncio.ensure_future(consumer.stop())
    await asyncio.wait([stopping])
    if not stopping.cancelled() and (error := stopping.exception()) is not None:
        logger.debug("stopping: %r", error)


def _tell_unreadable(records: list[Any]) -> None:
    """Say of what the log has and nobody can read: snapshots among it are missed when their partition is taken over."""
    for record in records:
        if isinstance(record, Unreadable):
            telemetry.ERRORS.labels("changelog", "unreadable").inc()
            where = (record.topic, record.partition, record.first_offset, record.offset)
            logger.error("changelog %s-%d: offsets %d to %d cannot be read: %s", *where, record.detail)


def _newest(records: list[Any]) -> dict[bytes, bytes | None]:
    """Only a changelog's newest value of a key counts."""
    return {record.key: record.value for record in records if record.key is not None}
