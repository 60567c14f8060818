"""Logs: one JSON object a line on standard error, with the fields of the contract.

`logger.info("…", extra={"symbol": …, "stream_id": …})` fills the fields; those not given are null.
"""

import logging
import sys
from datetime import UTC, datetime
from typing import Final

import msgspec

_CONTEXT: Final = ("symbol", "lag_ms", "node_id", "stream_id", "event_type")
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


def configure(component: str, node_id: str, level: str) -> None:
    """Send every log record of this process to standard error as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(component, node_id))
    logging.basicConfig(level=level, handlers=[handler], force=True)
