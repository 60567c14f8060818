"""Memory, open files and threads of every process, from /proc: what a process has after a minute, it has in the end."""

import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from soak.judge import Violation

# A process counts from here on: until then it is starting, and its caches fill.
SETTLED_SEC: Final = 60.0
_LEAST_SEC: Final = 120.0
_PAGE_MB: Final = 4096 / 1e6
# Windows of half an hour fill meanwhile: 1.5 MB a symbol by the contract, and as much again for what allocators keep.
_MORE_MB: Final = 40.0
_MORE_FILES: Final = 20
_MORE_THREADS: Final = 8


class Usage(NamedTuple):
    """What a process has at one moment."""

    at: float
    rss_mb: float
    files: int
    threads: int


def usage(pid: int) -> Usage | None:
    """Return what a process has now, `None` if it is gone or going: memory goes before the rest."""
    root = Path("/proc", str(pid))
    try:
        pages = int((root / "statm").read_text().split()[1])
        if not pages:
            return None
        return Usage(
            time.monotonic(), pages * _PAGE_MB, len(list((root / "fd").iterdir())), len(list((root / "task").iterdir()))
        )
    except (OSError, IndexError):
        return None


class Resources:
    """The usage of each life of each process; told now and then which there are."""

    def __init__(self) -> None:
        self._lives: dict[tuple[str, int], list[Usage]] = {}

    def look(self, processes: Mapping[str, int]) -> None:
        """Note what each process has, by name and process id."""
        for name, pid in processes.items():
            if found := usage(pid):
                self._lives.setdefault((name, pid), []).append(found)

    def note(self, name: str, pid: int, found: Usage) -> None:
        """Note one usage."""
        self._lives.setdefault((name, pid), []).append(found)

    def longest_lives(self) -> dict[str, tuple[Usage, Usage]]:
        """Return the usage when it was settled and at the end, of each name's longest life that is long enough."""
        found: dict[str, tuple[Usage, Usage]] = {}
        for (name, _), life in self._lives.items():
            settled = next((each for each in life if each.at - life[0].at >= SETTLED_SEC), None)
            if settled is None or life[-1].at - life[0].at < _LEAST_SEC:
                continue
            if name not in found or life[-1].at - settled.at > found[name][1].at - found[name][0].at:
                found[name] = (settled, life[-1])
        return found

    def violations(self, but: Collection[str] = ()) -> list[Violation]:
        """Return where more was used in the end; `but` names servers whose logs and heaps grow to a limit."""
        broken = []
        for name, (first, last) in self.longest_lives().items():
            if name in but:
                continue
            rose = {
                "memory is flat": (last.rss_mb - first.rss_mb, _MORE_MB),
                "open files are flat": (last.files - first.files, _MORE_FILES),
                "threads are flat": (last.threads - first.threads, _MORE_THREADS),
            }
            broken += [
                Violation(last.at, rule, name, f"{first} -> {last}")
                for rule, (more, most) in rose.items()
                if more > most
            ]
        return broken
