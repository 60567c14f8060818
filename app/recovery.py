"""Takes partitions over after a rebalance, in the place of Faust's recovery of tables.

Faust's own reads changelogs through the group's consumer and a queue which it empties when a rebalance ends, and lets a
recovery whose partitions were revoked meanwhile open the flow of the next one. Here a rebalance has one *round*: what
was assigned, and a task that takes it over. The next revocation or assignment cancels it, wherever it waits, so that a
round that is out of date can do nothing any more: it neither seeks nor lets records through. The steps of a round:

1. `app.take_over` brings state and assignment in line and says from where each partition is to be read;
2. the partitions are sought there;
3. only then does anything flow.

The group's partitions of changelogs stay paused: they are assigned so that each has a standby, and read by others.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple

from aiokafka.errors import IllegalStateError, KafkaError
from faust.types import TP
from mode import Service

from app.membership import Membership

logger = logging.getLogger(__name__)

_AGAIN_SEC: Final = 0.05


class Assigned(NamedTuple):
    """What the group gave a worker.

    Attributes:
        membership: as whom.
        sources: partitions of events.
        actives: partitions of changelogs that belong to them.
        standbys: partitions of changelogs that others write and that we keep a copy of.
    """

    membership: Membership
    sources: frozenset[TP]
    actives: frozenset[TP]
    standbys: frozenset[TP]


TakeOver = Callable[[Assigned], Awaitable[Mapping[TP, int]]]
"""Brings state in line with what was assigned; returns from which offset each source is to be read."""


class Recovery(Service):
    """Runs the rounds of one app; Faust's table manager calls it at revocations and assignments."""

    def __init__(self, app: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.app = app
        self.completed = asyncio.Event()
        self._round: asyncio.Task[None] | None = None

    def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """End the round that is under way."""
        self._end_round()

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        """Begin the round of an assignment."""
        self._end_round()
        self._round = asyncio.create_task(self._take_over(self._assigned(assigned)), name="takeover")

    async def on_stop(self) -> None:
        """End the round that is under way."""
        self._end_round()

    @property
    def task(self) -> "asyncio.Task[None] | None":
        """The round of the newest assignment, to be watched: it must not end with an error."""
        return self._round

    def _end_round(self) -> None:
        if self._round is not None:
            self._round.cancel()
            self._round = None

    def _assigned(self, assigned: set[TP]) -> Assigned:
        changelogs = self.app.tables.changelog_topics
        assignor = self.app.assignor
        return Assigned(
            self.app.consumer.membership,
            frozenset(tp for tp in assigned if tp.topic not in changelogs),
            frozenset(tp for tp in assignor.assigned_actives() if tp.topic in changelogs),
            frozenset(tp for tp in assignor.assigned_standbys() if tp.topic in changelogs),
        )

    async def _take_over(self, assigned: Assigned) -> None:
        app, consumer = self.app, self.app.consumer
        while True:
            try:
                starts = await app.take_over(assigned)
                await consumer.go_on_from(starts)
                break
            except (KafkaError, OSError, TimeoutError, IllegalStateError) as error:
                logger.warning("taking %d partitions over again: %r", len(assigned.sources), error)
                await asyncio.sleep(_AGAIN_SEC)
        consumer.resume_partitions(set(assigned.sources))
        app.flow_control.resume()
        consumer.resume_flow()
        await app._fetcher.maybe_start()
        app.tables.on_actives_ready()
        app.tables.on_standbys_ready()
        app.on_rebalance_end()
        self.completed.set()
        await app.on_rebalance_complete.send()
        logger.info("%d partitions taken over", len(assigned.sources))
