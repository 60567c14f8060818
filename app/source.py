"""The topic of events as a worker sees it: what Kafka says of its partitions, how far behind it is, its commits."""

import asyncio
import logging
from collections.abc import Collection, Coroutine, Iterable, Iterator, Mapping
from typing import Any

from aiokafka.errors import KafkaError
from faust.types import TP

from agents.owned import Owned
from agents.restoring import PartitionLog
from app import telemetry
from app.topic_watch import TopicWatch
from app.transport import BatchApp

logger = logging.getLogger(__name__)


class Source:
    """The events in `topic`, read by `app` into what is `owned`."""

    def __init__(self, app: BatchApp, topic: str, owned: Owned, watch: TopicWatch) -> None:
        self._app = app
        self._topic = topic
        self._owned = owned
        self._watch = watch
        self._background: set[asyncio.Task[None]] = set()
        self._progress: dict[int, tuple[int, float]] = {}

    async def logs(self, partitions: Iterable[int]) -> dict[int, PartitionLog]:
        """Return what Kafka says of each partition now; raises KafkaError, OSError or TimeoutError if it does not."""
        tps = {TP(self._topic, partition) for partition in partitions}
        if not tps:
            return {}
        log, found = await asyncio.gather(self._watch.log_of(self._topic), self._app.consumer.logs(tps))
        return {tp.partition: PartitionLog(log, *each) for tp, each in found.items()}

    def starts(self, offsets: Mapping[int, int]) -> dict[TP, int]:
        """Return offsets by partition in Faust's form."""
        return {TP(self._topic, partition): offset for partition, offset in offsets.items()}

    def backlog(self) -> int:
        """Return how many events the broker has that no engine has seen yet."""
        return sum(self._behind().values())

    def _behind(self) -> dict[int, int]:
        """Return by partition how many events wait."""
        if not self._owned.partitions:
            return {}  # there may be no consumer to ask yet
        behind, assigned = dict[int, int](), self._app.consumer.assignment()
        for partition, progress in self._owned.partitions.items():
            if TP(self._topic, partition) not in assigned:
                continue  # in a rebalance
            end = self._app.consumer.highwater(TP(self._topic, partition))
            if end:
                behind[partition] = max(0, end - progress.position - 1)
        return behind

    def note_progress(self, now: float) -> None:
        """Note at monotonic second `now` how far each partition is; once a second or so."""
        behind = self._behind()
        progress = {partition: self._owned.partitions[partition].position for partition in behind}
        self._progress = {
            partition: (position, now)
            if not behind[partition] or self._progress.get(partition, (None, now))[0] != position
            else self._progress[partition]
            for partition, position in progress.items()
        }

    def standing_still(self, now: float, longer_than_sec: float) -> Iterator[tuple[int, float]]:
        """Yield the partitions whose events have waited for too long without any being applied, and for how long."""
        for partition, (_, since) in self._progress.items():
            if now - since > longer_than_sec:
                yield partition, now - since

    async def commit(self, offsets: Mapping[int, int], confirm: Collection[int]) -> bool:
        """Commit as the member that we were when these partitions became ours; see `Consumer.commit_source`."""
        if self._owned.membership is None:
            return False
        confirmed = {TP(self._topic, partition) for partition in confirm}
        return bool(await self._app.consumer.commit_source(self.starts(offsets), self._owned.membership, confirmed))

    def read_again(self, partition: int, offset: int) -> None:
        """See `agents.intake.OutOfStep`."""
        self._soon(self._app.consumer.go_on_from({TP(self._topic, partition): offset}))

    def went_back(self, partition: int) -> None:
        """See `agents.intake.OutOfStep`."""
        telemetry.ERRORS.labels("intake", "log_went_back").inc()
        logger.error("partition %d goes back: the topic was made again, or has lost its end", partition)
        self._soon(self._app.consumer.rejoin())

    def skipped(self, partition: int, offset: int) -> None:
        """See `agents.intake.OutOfStep`."""
        self._soon(self._note_lost(partition, offset))

    async def _note_lost(self, partition: int, offset: int) -> None:
        """Let the symbols of a partition say that its events from `offset` on are lost, if they are."""
        here = (await self.logs([partition]))[partition]
        if here.begin <= offset:
            return
        telemetry.ERRORS.labels("ownership", "events_expired").inc()
        logger.error("events of partition %d are lost: offsets %d to %d are gone", partition, offset, here.begin - 1)
        for symbol in self._owned.of(partition):
            symbol.engine.missed("events_expired")

    def _soon(self, work: Coroutine[Any, Any, None]) -> None:
        """Do what must not keep a batch of events waiting."""
        task = asyncio.ensure_future(_said(work))
        self._background.add(task)
        task.add_done_callback(self._background.discard)


async def _said(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except (KafkaError, OSError, TimeoutError) as error:
        telemetry.ERRORS.labels("intake", "out_of_step").inc()
        logger.warning("not done, the next records will show it again: %r", error)
