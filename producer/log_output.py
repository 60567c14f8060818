"""Everything that this process says becomes one JSON object a line, also what native code writes.

NautilusTrader's Rust core writes its log to standard output and error itself, as plain text, past Python's
logging. So both descriptors are led into a pipe, and a thread turns what comes out into log records; Python's own
`sys.stderr` keeps the real one. The core writes from a thread of its own, also after it was disposed of, so the
descriptors are never given back. What it says in the very last moment of the process may be lost.
"""

import logging
import os
import re
import sys
import threading
from typing import Final

_LINE: Final = re.compile(r"\S+ \[(\w+)\] (\S+?): (.*)")
_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")
_LEVELS: Final = {
    "TRACE": logging.DEBUG,
    "DEBUG": logging.DEBUG,
    "WARN": logging.WARNING,
    "WARNING": logging.WARNING,
    "ERROR": logging.ERROR,
}
_STANDARD: Final = (1, 2)
_MARK: Final = "\0drained"


class NativeOutput:
    """Turns what is written to descriptors 1 and 2 into log records, from `start` to the end of the process."""

    def __init__(self) -> None:
        self._thread = threading.Thread(target=self._read, name="native output", daemon=True)
        self._drained = threading.Event()
        self._out = -1

    def start(self) -> None:
        """Take both descriptors over; to be called before logging is configured."""
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = (os.fdopen(os.dup(number), "w", buffering=1) for number in _STANDARD)
        self._out, into = os.pipe()
        for number in _STANDARD:
            os.dup2(into, number)
        os.close(into)
        self._thread.start()

    def drain(self) -> None:
        """Wait until everything written before has become a record."""
        os.write(_STANDARD[0], f"\n{_MARK}\n".encode())
        self._drained.wait(1.0)

    def _read(self) -> None:
        with os.fdopen(self._out, "r", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                text = _COLOURS.sub("", line).rstrip()
                if text == _MARK:
                    self._drained.set()
                elif text:
                    log_line(text)


def log_line(text: str) -> None:
    """Log a line of NautilusTrader's, under its component's name and level, or any other line as a warning."""
    match = _LINE.fullmatch(text)
    if match is None:
        logging.getLogger("native").warning("%s", text)
        return
    level, component, message = match.groups()
    logging.getLogger(f"nautilus.{component}").log(_LEVELS.get(level, logging.INFO), "%s: %s", component, message)
