"""The dead-letter topic: records nobody could use, unchanged, with the reason and their origin in headers."""

import logging
from collections.abc import Callable
from typing import Any

import faust

from agents.log_fields import record_fields
from app.batches import Record
from app.microstructure.events import BadEventError

logger = logging.getLogger(__name__)


class DeadLetters:
    """Sends records to `topic`."""

    def __init__(self, app: faust.App, topic: str) -> None:
        self._topic: Any = app.topic(
            topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
        )

    def send(self, record: Record, error: BadEventError, done: Callable[[], None]) -> None:
        """Send a record aside; `done` is called when the broker has it."""
        logger.warning("unusable message: %s", error, extra=record_fields(record))
        sent = self._topic.send_soon(
            key=record.key,
            value=record.value,
            headers={
                "reason": error.reason.encode(),
                "detail": str(error)[:500].encode(),
                "source_topic": record.topic.encode(),
                "source_partition": str(record.partition).encode(),
                "source_offset": str(record.offset).encode(),
            },
        )
        sent.add_done_callback(lambda future: done() if not future.cancelled() and not future.exception() else None)
