"""Everything that this process says becomes one JSON object a line, also what native code writes.

NautilusTrader's Rust core writes its log to standard output and error itself, as plain text, past Python's
logging. So both descriptors are led into a pipe, and a thread turns what comes out into log records; Python's own
`sys.stderr` keeps the real one. What the core says in its last moment before a hard crash may be lost.
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


class NativeOutput:
    """Turns what is written to descriptors 1 and 2 into log records between `start` and `stop`."""

    def __init__(self) -> None:
        self._saved: list[int] = []
        self._thread = threading.Thread(target=self._read, name="native output", daemon=True)
        self._out = -1

    def start(self) -> None:
        """Take both descriptors over; to be called before logging is configured."""
        sys.stdout.flush()
        sys.stderr.flush()
        self._saved = [os.dup(number) for number in _STANDARD]
        sys.stdout, sys.stderr = (os.fdopen(os.dup(saved), "w", buffering=1) for saved in self._saved)
        self._out, into = os.pipe()
        for number in _STANDARD:
            os.dup2(into, number)
        os.close(into)
        self._thread.start()

    def stop(self) -> None:
        """Give the descriptors back; everything written before has become a record."""
        for number, saved in zip(_STANDARD, self._saved, strict=True):
            os.dup2(saved, number)
            os.close(saved)
        self._thread.join(1.0)

    def _read(self) -> None:
        with os.fdopen(self._out, "r", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                text = _COLOURS.sub("", line).rstrip()
                if text:
                    log_line(text)


def log_line(text: str) -> None:
    """Log a line of NautilusTrader's, under its component's name and level, or any other line as a warning."""
    match = _LINE.fullmatch(text)
    if match is None:
        logging.getLogger("native").warning("%s", text)
        return
    level, component, message = match.groups()
    logging.getLogger(f"nautilus.{component}").log(_LEVELS.get(level, logging.INFO), "%s: %s", component, message)
