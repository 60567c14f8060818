"""Random schedules of faults from a seed, and a run of a system under one.

The faults are of the kinds that the soak has too (`support/fault_kinds.py`), those of workers and of a single broker.
The seed fixes which come when; how long each process takes to react is the machine's. What must come of it is the same
every time.
"""

import asyncio
import os
import random
import signal
import time
from dataclasses import dataclass, field

from support.fault_kinds import Fault, drawn
from support.ground import Ground
from support.pair import require_equal
from support.reports import Watch
from support.streams import Feed, end_offsets, interleaved, last_offsets, undisturbed
from support.workers import PARTITIONS, Worker, eventually

EVENTS_EACH = 320
PER_SEC = 400.0
_FEED_SEC = EVENTS_EACH * 16 / PER_SEC
KINDS = (
    *("worker kill", "worker kill", "worker pause", "worker hang", "worker stop", "worker join"),
    *("broker kill", "broker stop"),
)


def schedule(seed: int) -> list[Fault]:
    """Return the faults of a seed: four to seven, of the broker's at most one."""
    dice = random.Random(seed)
    faults: list[Fault] = []
    for at in sorted(dice.uniform(0.5, _FEED_SEC - 1) for _ in range(dice.randint(4, 7))):
        broker_fell = any(fault.kind.startswith("broker") for fault in faults)
        faults.append(drawn(dice, at, [kind for kind in KINDS if not (broker_fell and kind.startswith("broker"))]))
    return faults


@dataclass
class Run:
    """One system under one schedule."""

    ground: Ground
    seed: int
    workers: dict[str, Worker] = field(default_factory=dict)
    leaving: set[str] = field(default_factory=set)

    async def play(self) -> str:
        """Play the schedule and check all that must hold; return a line with what happened."""
        begun = time.monotonic()
        deployment, reports, broker = self.ground.deployment, self.ground.reports, self.ground.broker
        events = interleaved(EVENTS_EACH, seed=self.seed)
        for _ in range(2):
            self._join()
        try:
            await eventually(self._all_assigned, "the first workers have all partitions")
            feed = Feed(broker.bootstrap, deployment.settings.events_topic, events, PER_SEC)
            async with Watch(reports) as watch:
                await self._steps(feed)
                await feed
                fed = time.monotonic()
                ends = end_offsets(events, PARTITIONS)
                await eventually(lambda: reports.reached(last_offsets(events, PARTITIONS)), "all is in reports")

                async def committed() -> bool:
                    return dict(await deployment.committed()) == ends

                await eventually(committed, "all is committed")
            settled = time.monotonic() - fed
            await self._leave_cleanly()
        except AssertionError:
            for worker in self.workers.values():
                if worker.running:
                    os.kill(worker.working_pid, signal.SIGUSR1)  # Faust then says what each of its tasks is doing
            await asyncio.sleep(2)
            raise
        finally:
            for worker in self.workers.values():
                worker.kill()
        require_equal(await deployment.newest_states(), undisturbed(events, PARTITIONS))
        gap = max(watch.gaps.values())
        epoch = max(seen.epoch for seen in watch.newest.values())
        return (
            f"{time.monotonic() - begun:.1f} s, settled {settled:.1f} s after the last event, "
            f"longest gap {gap:.1f} s, highest epoch {epoch}, {watch.looks} looks"
        )

    async def _steps(self, feed: Feed) -> None:
        begun = time.monotonic()
        resuming: list[asyncio.Task[None]] = []
        for fault in schedule(self.seed):
            await asyncio.sleep(max(0.0, begun + fault.at - time.monotonic()))
            running = [worker for worker in self.workers.values() if self._may_be_hit(worker)]
            chosen = running[int(fault.pick * len(running))] if running else None
            match fault.kind:
                case "worker kill" if chosen:
                    chosen.crash()
                    self._join()
                case "worker pause" | "worker hang" if chosen:
                    resuming.append(asyncio.create_task(_pause(chosen, fault.lasts)))
                case "worker stop" if chosen:
                    chosen.request_stop()
                    self.leaving.add(chosen.name)
                case "worker join" if len(running) < 3:
                    self._join()
                case "broker kill" | "broker stop":
                    await asyncio.to_thread(self._restart_broker, kill=fault.kind == "broker kill")
            self._keep_one()
        await asyncio.gather(*resuming)

    def _may_be_hit(self, worker: Worker) -> bool:
        return worker.running and worker.paused_pid is None and worker.name not in self.leaving

    def _keep_one(self) -> None:
        if not any(worker.running and worker.name not in self.leaving for worker in self.workers.values()):
            self._join()

    def _join(self) -> None:
        worker = self.ground.deployment.worker(f"w{len(self.workers) + 1}")
        worker.start()
        self.workers[worker.name] = worker

    def _restart_broker(self, *, kill: bool) -> None:
        broker = self.ground.broker
        if kill:
            broker.kill()
        else:
            broker.stop()
        broker.start()

    async def _all_assigned(self) -> bool:
        owned = [await worker.partitions() for worker in self.workers.values()]
        return all(owned) and set().union(*owned) == set(range(PARTITIONS))

    async def _leave_cleanly(self) -> None:
        running = [worker for worker in self.workers.values() if worker.running]
        for worker in running:
            worker.request_stop()
        for worker in running:
            await eventually(worker.ended, f"{worker.name} ends", limit_sec=15)
            assert worker.exit_code == 0, f"{worker.name} ended with {worker.exit_code}: {worker.log_tail()}"


async def _pause(worker: Worker, seconds: float) -> None:
    worker.pause()
    await asyncio.sleep(seconds)
    worker.resume()
