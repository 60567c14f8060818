"""Logs: one JSON object a line on standard error, with the fields of the contract.

`logger.info("…", extra={"symbol": …, "stream_id": …})` fills the fields; those not given are null.
"""

import logging
import re
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import msgspec

_CONTEXT: Final = ("symbol", "lag_ms", "node_id", "stream_id", "event_type")
_CHATTY: Final = ("faust", "mode")  # what they say at INFO is for those who debug them
_MOST_KINDS: Final = 1000
_NUMBER: Final = re.compile(r"\d+(\.\d+)?")
_encode = msgspec.json.Encoder(enc_hook=str).encode


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON."""

    def __init__(self, component: str, node_id: str) -> None:
        super().__init__()
        self._component = component
        self._node_id = node_id

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a JSON object with the contract's fields."""
        entry = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
            "level": record.levelname,
            "component": self._component,
            **{name: getattr(record, name, None) for name in _CONTEXT},
            "message": record.getMessage(),
        }
        entry["node_id"] = entry["node_id"] or self._node_id
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return _encode(entry).decode()


class Repeats(logging.Filter):
    """Lets a warning or error through once in `every_sec`, with how often it was held back since.

    A server that is away would else fill the log: clients try to reach it many times a second.
    """

    def __init__(self, every_sec: float = 5.0, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._every_sec = every_sec
        self._monotonic = monotonic
        self._seen: dict[tuple[str, str | None, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether `record` is to be written."""
        if record.levelno < logging.WARNING:
            return True
        message, now = record.getMessage(), self._monotonic()
        # Numbers that count on (seconds waited, attempts) make no other message.
        key = (record.name, getattr(record, "symbol", None), _NUMBER.sub("#", message))
        since, held = self._seen.get(key, (-self._every_sec, 0))
        if now < since + self._every_sec:
            self._seen[key] = (since, held + 1)
            return False
        if len(self._seen) >= _MOST_KINDS:
            self._seen.clear()
        self._seen[key] = (now, 0)
        if held:
            record.msg, record.args = f"{message} (and {held} times more in {now - since:.0f} s)", ()
        return True


def configure(component: str, node_id: str, level: str) -> None:
    """Send every log record of this process to standard error as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(component, node_id))
    handler.addFilter(Repeats())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    if level == "INFO":
        for chatty in _CHATTY:
            logging.getLogger(chatty).setLevel(logging.WARNING)
