"""The whole system on three brokers, for tests that take brokers away: what readers see, and that nothing is lost."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from app.stack.kafka import KafkaBroker
from soak import topics
from soak.gaps import Pause
from soak.ground import GROUP, SYMBOLS, TOPIC, Ground, wait_until
from soak.judge import Judge
from soak.records import Record, TopicJudge
from soak.replay import differences
from soak.watch import Watch
from support.contracts import report_error
from support.workers import eventually

FRESH_SEC: Final = 60.0
_HOLD_SEC: Final = 3.0


class ThreeBrokers:
    """A running system with a judge that looks at every report."""

    def __init__(self, ground: Ground, judge: Judge, watch: Watch) -> None:
        self.ground = ground
        self.kafka = ground.kafka
        self._judge = judge
        self._watch = watch

    @classmethod
    @contextmanager
    def running(cls, folder: Path) -> Iterator["ThreeBrokers"]:
        """Run everything until all symbols have fresh reports, and to the end of the context."""
        judge = Judge(report_error)
        with Ground(folder).running() as ground, Watch(ground.redis.url, SYMBOLS, judge) as watch:
            system = cls(ground, judge, watch)
            system.fresh()
            yield system

    def fresh(self) -> None:
        """Wait until every symbol has had a fresh report within the last second."""
        assert self._watch.wait_fresh(FRESH_SEC), f"no fresh reports of {', '.join(self._watch.waiting())}"

    def settled(self) -> None:
        """Wait until all is fresh, each worker has partitions, and every copy of every partition is in sync."""
        self.fresh()
        for worker in self.ground.workers[:3]:
            if not worker.running:
                worker.start()
            assert wait_until(partial(self.ground.ready, worker), FRESH_SEC), f"{worker.name} has nothing"
        asyncio.run(eventually(self.kafka.all_in_sync, "every copy is in sync"))
        self.fresh()

    def find(self, who: str) -> KafkaBroker:
        """Return the broker that is the leader of a partition, the group's coordinator, or the controller."""
        match who:
            case "leader":
                return asyncio.run(self.kafka.leader_of(TOPIC, 0))
            case "coordinator":
                return asyncio.run(self.kafka.coordinator_of(GROUP))
        return asyncio.run(self.kafka.controller())

    @contextmanager
    def measured(self, gaps: list[tuple[float, float]]) -> Iterator[None]:
        """Add the longest gap of reports and that of fresh data, in seconds, from now until all is fresh again."""
        began = time.monotonic()
        yield
        time.sleep(_HOLD_SEC)  # until then reports made before may still be what is looked at
        self.fresh()
        gaps.append((self._longest(began, data=False), self._longest(began, data=True)))

    def nothing_is_lost(self) -> None:
        """Hold all reports so far to the judge's rules, and the last ones to a replay of what the topic holds."""
        assert dict(self._judge.counts) == {}, self._judge.violations
        bodies = self._watch.last_bodies()
        records = asyncio.run(_all(self.kafka.bootstrap))
        topic = TopicJudge([])
        topic.read(records)
        assert topic.violations == []
        broken = [each for each in differences(records, bodies) if each.rule != "last report covers the topic"]
        assert broken == []

    def _longest(self, began: float, *, data: bool) -> float:
        longest, now = 0.0, time.monotonic()
        for seen in self._judge.seen.values():
            times = [each.at for each in seen if not data or each.status == "ok"]
            for earlier, later in zip(times, [*times[1:], now], strict=True):
                if later >= began:
                    longest = max(longest, later - earlier - self._unseen(Pause(earlier, later)))
        return longest

    def _unseen(self, gap: Pause) -> float:
        return sum(max(0.0, min(gap.ended, each.ended) - max(gap.began, each.began)) for each in self._watch.pauses)


async def _all(brokers: str) -> list[Record]:
    return [record async for record in topics.read(brokers, TOPIC)]
