"""CPU time and memory of processes, of their threads and of the machine, from Linux's /proc."""

import os
from pathlib import Path
from typing import Final

_TICK: Final = os.sysconf("SC_CLK_TCK")


def cpu_sec(pid: int) -> float:
    """Return the CPU seconds that a process has used."""
    return _seconds(Path(f"/proc/{pid}/stat"))


def main_thread_sec(pid: int) -> float:
    """Return the CPU seconds that a process's main thread has used."""
    return _seconds(Path(f"/proc/{pid}/task/{pid}/stat"))


def machine_sec() -> float:
    """Return the CPU seconds that the whole machine has been busy."""
    user, nice, system = Path("/proc/stat").read_text().split(maxsplit=4)[1:4]
    return (int(user) + int(nice) + int(system)) / _TICK


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def rss_mb(pid: int) -> float:
    """Return the resident memory of a process, in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _seconds(stat: Path) -> float:
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK
