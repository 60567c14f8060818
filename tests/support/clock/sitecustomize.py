"""A wall clock that can be set from outside; Python imports this by itself where this folder is in PYTHONPATH.

What the file of WALL_CLOCK_FILE holds, in seconds, is added to what `time` says of the wall clock. The monotonic clock
is left alone, as it is when an operator or NTP sets a host's clock. libfaketime would be the usual way, but 0.9.10 is
no use for Python: with FAKETIME_DONT_FAKE_MONOTONIC `time.sleep` raises EINVAL, as its clock_nanosleep mixes up the
clocks, and threads that wait for a moment wait for seconds.
"""

import os
import time
from pathlib import Path
from typing import Final

_READ_SEC: Final = 0.1


class _Offset:
    """What the file holds, read ten times a second at most."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._read_at = -_READ_SEC
        self._nanos = 0

    def __call__(self) -> int:
        now = time.monotonic()
        if now - self._read_at >= _READ_SEC:
            self._read_at = now
            self._nanos = int(float(self._file.read_text()) * 1e9)
        return self._nanos


def install(file: Path) -> None:
    """Replace `time.time` and `time.time_ns` for the rest of this process."""
    offset, seconds, nanos = _Offset(file), time.time, time.time_ns
    time.time = lambda: seconds() + offset() / 1e9
    time.time_ns = lambda: nanos() + offset()


if name := os.environ.get("WALL_CLOCK_FILE"):
    install(Path(name))
