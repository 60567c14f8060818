"""The same work for every contender of `make bench-throughput`, and the clocks around it.

Each contender decodes the same records, applies them to the same engines, computes every symbol's fast report four
times a second and its slow sections every two seconds, and takes a snapshot of each symbol once a second. They differ
in what brings the records and in what takes the snapshots. Nobody but our own worker writes its reports to Redis.
"""

import hashlib
import json
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.microstructure.engine import EngineParams, SlowSections, SymbolEngine
from app.microstructure.events import decode
from app.microstructure.report import Stamp, encode

FAST_SEC, SLOW_SEC, SNAPSHOT_SEC = 0.25, 2.0, 1.0


class Work:
    """Engines and cycles of one contender that expects `expected` events."""

    def __init__(self, expected: int) -> None:
        self.engines: dict[str, SymbolEngine] = {}
        self._slow: dict[str, SlowSections] = {}
        self._slow_at = 0.0
        self._params = EngineParams()
        self.expected = expected
        self.applied = 0
        self.began = Clocks()
        self.ended = self.began

    @property
    def done(self) -> bool:
        """Whether every event was applied."""
        return self.applied >= self.expected

    def take(self, value: bytes, key: bytes, offset: int) -> SymbolEngine:
        """Decode and apply one record; return its symbol's engine."""
        event = decode(value, key)
        engine = self.engines.get(event.symbol)
        if engine is None:
            if not self.engines:
                self.began = Clocks()
            engine = self.engines[event.symbol] = SymbolEngine(event.symbol, self._params)
        if engine.apply(event, offset):
            self.applied += 1
            if self.applied == self.expected:
                self.ended = Clocks()
        return engine

    def report(self) -> int:
        """Compute every report, with slow sections if they are due; return the bytes."""
        now = time.monotonic()
        slow_due = now - self._slow_at >= SLOW_SEC
        if slow_due:
            self._slow_at = now
        size = 0
        for name, engine in self.engines.items():
            as_of = engine.ts_event
            if slow_due or name not in self._slow:
                self._slow[name] = engine.slow_sections(as_of)
            size += len(encode(engine.report(as_of, Stamp("bench", 1, 0, time.time_ns()), self._slow[name])))
        return size

    def result(self, **more: Any) -> dict[str, Any]:
        """Return what was measured between the first and the last event, and what the engines hold."""
        return {
            "events": self.applied,
            "seconds": self.ended.wall - self.began.wall,
            "cpu": self.ended.cpu - self.began.cpu,
            "states": digests({name: engine.snapshot() for name, engine in self.engines.items()}),
            **more,
        }


class Clocks:
    """The time now, and the CPU time of this process so far."""

    def __init__(self) -> None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        self.wall = time.perf_counter()
        self.cpu = used.ru_utime + used.ru_stime


class Every:
    """Says when it is time again, at most once in `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._due = time.monotonic() + seconds

    def due(self) -> bool:
        """Return whether it is; if so, the next time is counted from now."""
        now = time.monotonic()
        if now < self._due:
            return False
        self._due = now + self._seconds
        return True


def digests(states: dict[str, bytes]) -> dict[str, str]:
    """Return what tells whether two sets of states are equal."""
    return {name: hashlib.sha256(state).hexdigest() for name, state in sorted(states.items())}


def write_result(path: Path, result: dict[str, Any]) -> None:
    """Leave the result for the process that started this one, all of it or nothing."""
    scratch = path.with_suffix(".part")
    scratch.write_text(json.dumps(result), encoding="utf-8")
    scratch.rename(path)


def child_main(run: Callable[[dict[str, Any]], None]) -> None:
    """Run a contender with the options that its command line gives as JSON."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    run(json.loads(sys.argv[1]))
