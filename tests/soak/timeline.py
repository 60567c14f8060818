"""When which fault was there, and what it excuses: one line a fault, kept for whoever looks into a failure."""

import json
import time
from pathlib import Path
from typing import NamedTuple

from support.fault_kinds import KINDS, FaultKind


class Instant(NamedTuple):
    """One moment on both clocks: monotonic seconds and Unix seconds."""

    monotonic: float
    unix: float

    @classmethod
    def now(cls) -> "Instant":
        """Return this moment."""
        return cls(time.monotonic(), time.time())


class Window(NamedTuple):
    """From when to when a fault was at work on `victim`."""

    kind: str
    victim: str
    began: Instant
    ended: Instant

    @property
    def rules(self) -> FaultKind:
        """What faults of this kind excuse."""
        return KINDS[self.kind]

    @property
    def lasted(self) -> float:
        """For how many seconds it was at work."""
        return self.ended.monotonic - self.began.monotonic

    def excuses(self, data: bool) -> float:
        """Return how long a gap it excuses, of reports or of reports with fresh data."""
        away = self.rules.outage == "reports" or (data and self.rules.outage == "data")
        return (self.rules.data_sec if data else self.rules.report_sec) + (self.lasted if away else 0.0)


class Timeline:
    """All windows so far; those of faults that still last end now."""

    def __init__(self, file: Path | None = None) -> None:
        self._windows: list[Window] = []
        self._open: dict[int, Window] = {}
        self._next = 0
        self._file = file

    def begin(self, kind: str, victim: str) -> int:
        """Note that a fault begins; return what `end` wants."""
        now = Instant.now()
        self._next += 1
        self._open[self._next] = Window(kind, victim, now, now)
        self._write("begins", kind, victim, now)
        return self._next

    def end(self, number: int) -> None:
        """Note that its effect has been taken back: from here on the limits count."""
        window = self._open.pop(number)._replace(ended=Instant.now())
        self._windows.append(window)
        self._write("ended", window.kind, window.victim, window.ended)

    def windows(self) -> list[Window]:
        """Return every window in the order of their beginnings."""
        now = Instant.now()
        return sorted([*self._windows, *(each._replace(ended=now) for each in self._open.values())], key=_begin)

    def _write(self, what: str, kind: str, victim: str, at: Instant) -> None:
        if self._file is None:
            return
        line = {"unix": round(at.unix, 3), "monotonic": round(at.monotonic, 3), "fault": kind, "victim": victim}
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line | {"what": what}) + "\n")


def _begin(window: Window) -> float:
    return window.began.monotonic
