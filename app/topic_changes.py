"""Notices that a topic is not what it was: made again, or given other partitions, while the worker runs."""

import logging

from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

from app import exit_codes, telemetry
from app.topic_watch import TopicWatch
from app.topics import repartition_advice
from app.transport import BatchApp
from tables.follower import Follower

logger = logging.getLogger(__name__)


class TopicChanges:
    """Compares what `watch` says of the events' topic and the changelog with what it said before.

    Attributes:
        missing: which topic the brokers do not know, in their words, `None` while they know all.
    """

    def __init__(self, app: BatchApp, watch: TopicWatch, follower: Follower, events: str, partitions: int) -> None:
        self._app = app
        self._watch = watch
        self._follower = follower
        self._events = events
        self._partitions = partitions
        self._logs: dict[str, str] = {}
        self.missing: str | None = None

    async def run(self) -> None:
        """Look once. Brokers that do not answer are asked again in the next cycle."""
        try:
            found = await self._watch.look()
        except UnknownTopicOrPartitionError as error:
            # The group takes the partitions back, and a worker without any would look well.
            self.missing = str(error)
            return
        except (KafkaError, OSError, TimeoutError, RuntimeError):
            return  # somebody who needs an answer says so
        self.missing = None
        for name, topic in found.items():
            if topic.partitions != self._partitions:
                telemetry.ERRORS.labels("worker", "topic_changed").inc()
                self._app.give_up(exit_codes.CANNOT_START, repartition_advice(name, topic.partitions, self._partitions))
                return
            if topic.log is not None and self._logs.setdefault(name, topic.log) != topic.log:
                telemetry.ERRORS.labels("worker", "topic_changed").inc()
                logger.error("the topic %s was made again: taking everything over again", name)
                self._logs[name] = topic.log
                if name != self._events:
                    self._follower.other_log()
                await self._app.consumer.rejoin()
