"""Makes faults: each is a thread of its own, which takes its fault back when its time is over."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from app.stack.process import Child
from soak.ground import GROUP, PARTITIONS, TOPIC, Ground, wait_until
from soak.timeline import Timeline
from support.fault_kinds import KINDS, Fault
from support.processes import descendants
from support.workers import Worker

# Within these a process that was started must take part again; who takes longer is seen by the gaps, not here.
_BACK_SEC: Final = 40.0
_EXIT_SEC: Final = 15.0
_CLOCKS: Final = (-90, -5, 5, 90)
_CHUNK: Final = b"\0" * (1 << 20)


class Acts:
    """Faults on a ground, noted in a timeline.

    Attributes:
        ended_by_themselves: processes that ended without our doing, with their exit codes.
        skipped: kinds of fault that this machine does not let us make, and why.
    """

    def __init__(self, ground: Ground, timeline: Timeline) -> None:
        self._ground = ground
        self._timeline = timeline
        self._threads: list[threading.Thread] = []
        # What is held still, or was ended by us and not started again yet.
        self._held: set[str] = set()
        self._lock = threading.Lock()
        self.ended_by_themselves: list[tuple[float, str, int | None]] = []
        self.failures: list[str] = []
        self.skipped: dict[str, str] = {}
        if ground.disk is None:
            self.skipped["worker disk"] = "a small disk needs root"

    def kinds(self) -> list[str]:
        """Return the kinds of fault that can be made here."""
        return [kind for kind in KINDS if kind not in self.skipped]

    def begin(self, fault: Fault) -> None:
        """Make a fault in a thread of its own."""
        thread = threading.Thread(target=self._act, args=(fault,), name=str(fault), daemon=True)
        self._threads.append(thread)
        thread.start()

    def wait(self) -> None:
        """Wait until every fault has been taken back."""
        for thread in self._threads:
            thread.join()

    def look(self) -> None:
        """Start again what has ended by itself, and remember that it did."""
        for child in self._children():
            with self._lock:
                if child.name in self._held or child.exit_code is None:
                    continue
                self.ended_by_themselves.append((time.monotonic(), child.name, child.exit_code))
            child.start()

    def _children(self) -> list[Child]:
        ground = self._ground
        brokers = [each.process for each in ground.kafka.brokers]
        return [ground.exchange, ground.producer, ground.redis.process, *brokers, *ground.workers[:3]]

    def _act(self, fault: Fault) -> None:
        try:
            match fault.kind.split(" ")[-1], KINDS[fault.kind].victim:
                case _ if fault.kind == "worker and broker kill":
                    self._both(fault)
                case "join", _:
                    self._join(fault)
                case "cut", _:
                    self._cut(fault)
                case "disk", _:
                    self._fill(fault)
                case "clock", _:
                    self._set_clock(fault)
                case (("hang" | "pause"), _):
                    self._hang(fault, self._victim(fault))
                case how, _:
                    self._end(fault, self._victim(fault), kill=how == "kill")
        except Exception as error:
            self.failures.append(f"{fault}: {error!r}")

    def _victim(self, fault: Fault) -> Child:
        ground = self._ground
        match KINDS[fault.kind].victim:
            case "worker":
                return self._chosen(ground.workers[:3], fault.pick)
            case "broker":
                return self._broker(fault.pick)
            case "redis":
                return ground.redis.process
            case "producer":
                return ground.producer
        return ground.exchange

    def _broker(self, pick: float) -> Child:
        """A leader, the group's coordinator, or the controller."""
        kafka = self._ground.kafka
        # While another is away the next one would take the majority with it, which is a fault of another kind.
        wait_until(lambda: len(kafka.running) == len(kafka.brokers), _BACK_SEC)
        match int(pick * 3):
            case 0:
                return asyncio.run(kafka.leader_of(TOPIC, int(pick * 3 * PARTITIONS))).process
            case 1:
                return asyncio.run(kafka.coordinator_of(GROUP)).process
        return asyncio.run(kafka.controller()).process

    def _chosen(self, among: list[Worker], pick: float) -> Worker:
        free = [each for each in among if each.running and each.name not in self._held] or among
        return free[int(pick * len(free))]

    @contextmanager
    def _holding(self, *children: Child) -> Iterator[None]:
        names = {child.name for child in children}
        if not wait_until(lambda: not names & self._held, _BACK_SEC):
            raise TimeoutError(f"{names} are still held by another fault")
        with self._lock:
            self._held |= names
        try:
            yield
        finally:
            with self._lock:
                self._held -= names

    def _end(self, fault: Fault, child: Child, *, kill: bool) -> None:
        with self._holding(child):
            window = self._timeline.begin(fault.kind, child.name)
            if kill:
                _kill(child)
            else:
                child.stop(_EXIT_SEC)
            # Others take over from a worker or a broker at once; for a server that is alone the wait goes on.
            alone = KINDS[fault.kind].outage != "none"
            if not alone:
                self._timeline.end(window)
            time.sleep(fault.lasts)
            self._start(child)
            if alone:
                self._timeline.end(window)
        self._returns(child)

    def _start(self, child: Child) -> None:
        if not wait_until(lambda: not child.running, _EXIT_SEC):
            child.kill()
        child.start()

    def _returns(self, child: Child) -> None:
        """Note the time in which a worker joins again, or a broker takes its partitions back."""
        if isinstance(child, Worker):
            window = self._timeline.begin("worker join", child.name)
            wait_until(lambda: self._ground.ready(child), _BACK_SEC)
            self._timeline.end(window)
        elif child.name.startswith("kafka"):
            self._timeline.end(self._timeline.begin("broker stop", child.name))

    def _hang(self, fault: Fault, child: Child) -> None:
        with self._holding(child):
            pids = descendants(child.working_pid if isinstance(child, Worker) else child.pid)
            window = self._timeline.begin(fault.kind, child.name)
            _signal(pids, signal.SIGSTOP)
            try:
                time.sleep(fault.lasts)
            finally:
                _signal(pids, signal.SIGCONT)
                self._timeline.end(window)
        self._returns(child)

    def _both(self, fault: Fault) -> None:
        worker = self._chosen(self._ground.workers[:3], fault.pick)
        broker = self._broker(0.0)
        with self._holding(worker, broker):
            window = self._timeline.begin(fault.kind, f"{worker.name} and {broker.name}")
            _kill(worker)
            _kill(broker)
            self._timeline.end(window)
            time.sleep(fault.lasts)
            self._start(broker)
            self._start(worker)
        self._returns(broker)
        self._returns(worker)

    def _join(self, fault: Fault) -> None:
        extra = self._ground.workers[3]
        with self._holding(extra):
            extra.start()
            self._returns(extra)
            time.sleep(fault.lasts)
            window = self._timeline.begin("worker stop", extra.name)
            if (code := extra.stop(_EXIT_SEC)) != 0:
                self.ended_by_themselves.append((time.monotonic(), extra.name, code))
            self._timeline.end(window)

    def _cut(self, fault: Fault) -> None:
        ground = self._ground
        ways = {
            "worker cut": ([*ground.kafka_proxies, ground.redis_proxy], ground.workers[0]),
            "exchange cut": ([ground.exchange_proxy], ground.producer),
        }
        proxies, child = ways[fault.kind]
        with self._holding(child):
            window = self._timeline.begin(fault.kind, child.name)
            for proxy in proxies:
                # A cut of which nobody is told, and one that resets connections.
                (proxy.freeze if fault.pick < 0.5 else proxy.cut)()
            time.sleep(fault.lasts)
            for proxy in proxies:
                proxy.restore()
            self._timeline.end(window)
        self._returns(child)

    def _fill(self, fault: Fault) -> None:
        worker, disk = self._ground.workers[2], self._ground.disk
        assert disk is not None
        with self._holding(worker):
            window = self._timeline.begin(fault.kind, worker.name)
            deadline, ballast = time.monotonic() + fault.lasts, disk / "ballast"
            try:
                while time.monotonic() < deadline:
                    _fill(ballast)  # again: compaction may have given some back
                    time.sleep(0.2)
            finally:
                ballast.unlink(missing_ok=True)
                self._timeline.end(window)
        # It may have ended, which is its way to give its partitions away; then it is started again.
        if not worker.running:
            self._start(worker)
        self._returns(worker)

    def _set_clock(self, fault: Fault) -> None:
        worker = self._ground.workers[1]
        with self._holding(worker):
            window = self._timeline.begin(fault.kind, worker.name)
            self._ground.clock.set(_CLOCKS[int(fault.pick * len(_CLOCKS))])
            time.sleep(fault.lasts)
            self._ground.clock.set(0)
            self._timeline.end(window)


def _kill(child: Child) -> None:
    """SIGKILL for the process that does the work; of a worker, what watches over it stays."""
    if isinstance(child, Worker):
        child.crash()
    else:
        child.kill()


def _signal(pids: set[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _fill(file: Path) -> None:
    """Append to a file until the disk is full."""
    with suppress(OSError), file.open("ab", buffering=0) as out:
        while out.write(_CHUNK) == len(_CHUNK):
            pass
