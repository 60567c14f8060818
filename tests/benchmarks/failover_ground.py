"""Workers under a steady load whose partitions change hands, and the waits for it.

Workers are started as users start them, `context8 worker` with ports and a data folder of their own and the default
settings. Everything that is waited for has a limit, and the error says which worker did not do what, with its log.
"""

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import msgspec

from app import topics
from app.settings import Settings
from app.stack.errors import StackError
from app.stack.process import Child
from benchmarks.failover_watch import Moment, Watch, fresh_after, newest
from benchmarks.load_generator import STAGGER_SEC
from benchmarks.load_worker import worker_of
from benchmarks.throughput import BENCH_PYTHON, ROOT
from support.workers import Worker

LIMIT_SEC = 30.0
SETTLE_SEC = 2.0
_ASK_SEC = 0.1
_LOAD_SEC = 3600.0
_QUIET_SEC = 0.5


class Scene(msgspec.Struct, frozen=True):
    """How many symbols of how many events a second each, and the settings that differ from the defaults."""

    symbols: int = 16
    rate: float = 20.0
    session_timeout_ms: int = Settings().session_timeout_ms


class Window(msgspec.Struct):
    """A stretch of time, its end in monotonic seconds, and the symbols that another worker reports behind it."""

    begin: Moment
    end: float = 0.0
    moved: set[str] = set()


class Ground:
    """Two workers, a load and a watch; a context manager, which starts them and stops them all.

    Attributes:
        workers: those that run, the one that has been there longest first.
        watch: what readers see.
    """

    def __init__(self, scene: Scene, name: str, kafka: str, redis_url: str, folder: Path) -> None:
        self._settings = Settings(
            kafka_brokers=kafka,
            redis_url=redis_url,
            events_topic=f"{name}.events",
            worker_group=name,
            session_timeout_ms=scene.session_timeout_ms,
        )
        self._scene = scene
        self._folder = folder / name
        self._symbols = [f"{name.upper().replace('-', '')}{number}USDT" for number in range(scene.symbols)]
        self._started = 0
        self._stack = ExitStack()
        self._load = self._generator()
        self.workers: list[Worker] = []
        self.watch = Watch(redis_url, self._symbols)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            asyncio.run(topics.ensure(self._settings))
            stack.enter_context(self.watch)
            stack.callback(self._end_workers)
            for _ in range(2):
                self._start_one()
            self._until_shared()
            stack.enter_context(self._load)
            self._until(lambda: len(newest(self.watch.history)) == len(self._symbols), self._silent, STAGGER_SEC)
            time.sleep(SETTLE_SEC)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add_worker(self) -> None:
        """Start one more worker and wait until all have partitions and report."""
        self._start_one()
        self.settle()

    def stop(self, worker: Worker) -> None:
        """Stop a worker by SIGTERM and wait until it has ended; it may be started again.

        Raises:
            StackError: it has not within the limit, or not well.
        """
        if worker.stop(LIMIT_SEC) != 0:
            raise StackError(f"{worker.name} was told to stop: exit code {worker.exit_code}{_log_of(worker)}")

    def settle(self) -> None:
        """Wait until all partitions are shared by all workers and every symbol is reported, and a little longer.

        Raises:
            StackError: they are not within the limit.
        """
        self._until_shared()
        since = time.monotonic()
        self._until(lambda: all(seen.seen_at > since for seen in newest(self.watch.history).values()), self._silent)
        time.sleep(SETTLE_SEC)

    def until_fresh(self, symbols: set[str], victim: Worker, since: Moment) -> dict[str, float]:
        """Wait until others have reported all of `symbols`; return by symbol the seconds that it took.

        Raises:
            StackError: they have not within the limit.
        """

        def found() -> dict[str, float]:
            return fresh_after(self.watch.history, symbols, victim.name, since)

        def what() -> str:
            logs = "".join(map(_log_of, self.workers))
            return f"nobody reports {', '.join(sorted(symbols - found().keys()))} of {victim.name}{logs}"

        self._until(lambda: len(found()) == len(symbols), what)
        return found()

    @contextmanager
    def window(self) -> Iterator[Window]:
        """The time of what is done inside."""
        window, before = Window(Moment.now()), newest(self.watch.history)
        yield window
        window.end = time.monotonic()
        after = newest(self.watch.history)
        window.moved = {symbol for symbol, seen in after.items() if seen.node != before[symbol].node}

    def _start_one(self) -> None:
        self._started += 1
        worker = worker_of(self._settings, f"w{self._started}", self._folder)
        self.workers.append(worker)
        worker.start()

    def _end_workers(self) -> None:
        for worker in self.workers:
            worker.resume()
            worker.request_stop()
        for worker in self.workers:
            worker.stop()

    def _until_shared(self) -> None:
        owned: dict[str, list[int]] = {}

        def shared() -> bool:
            owned.clear()
            health = asyncio.run(_health_of_all(self.workers))
            owned.update({str(each["node_id"]): each["partitions"] for each in health if each})
            all_of_them = sorted(partition for each in owned.values() for partition in each)
            return (
                len(owned) == len(self.workers)
                and all(owned.values())
                and all(each.get("status") == "ok" for each in health)
                and all_of_them == list(range(self._settings.events_partitions))
            )

        def what() -> str:
            idle = [worker for worker in self.workers if not owned.get(worker.name)]
            if idle:
                return f"{idle[0].name} got no partitions{_log_of(idle[0])}"
            counts = ", ".join(f"{name}: {len(each)}" for name, each in owned.items())
            return f"the partitions are not shared by all workers ({counts})"

        self._until(shared, what)

    def _until(self, done: Callable[[], bool], what: Callable[[], str], more_sec: float = 0.0) -> None:
        deadline = time.monotonic() + LIMIT_SEC + more_sec
        while not done():
            self.watch.require_well()
            for child in (*self.workers, self._load):
                if child.exit_code is not None:
                    raise StackError(f"{child.name} ended with exit code {child.exit_code}{_log_of(child)}")
            if time.monotonic() > deadline:
                raise StackError(f"after {LIMIT_SEC + more_sec:g} s {what()}")
            time.sleep(_ASK_SEC)

    def _silent(self) -> str:
        late = time.monotonic() - _QUIET_SEC
        seen = newest(self.watch.history)
        silent = [name for name in self._symbols if name not in seen or seen[name].seen_at < late]
        return f"{', '.join(silent)} have no report, or none any more{''.join(map(_log_of, self.workers))}"

    def _generator(self) -> Child:
        options = {
            "brokers": self._settings.kafka_brokers,
            "topic": self._settings.events_topic,
            "symbols": self._symbols,
            "rate": self._scene.rate,
            "seconds": _LOAD_SEC,
            "trades_each": 1,
            "result": str(self._folder / "generator.json"),
        }
        command = [str(BENCH_PYTHON), "-m", "benchmarks.load_generator", json.dumps(options)]
        env = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
        return Child("generator", command, log=self._folder / "generator.log", env=env, cwd=self._folder)


async def _health_of_all(workers: list[Worker]) -> list[dict[str, Any]]:
    return list(await asyncio.gather(*(worker.health() for worker in workers)))


def _log_of(child: Child) -> str:
    return f"; the last lines of {child.log}:\n{child.log_tail(6)}"
