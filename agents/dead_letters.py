"""The dead-letter topic: records nobody could use, with the reason and their origin in headers.

A record counts as dealt with when the broker has it there; until then its partition's commits wait for it, which is why
the wait has an end. A record that Kafka refuses, or does not take within `PATIENCE_SEC`, is *lost*: said in the log by
its offset, at which the events topic still has it, counted, and shown in /health. While nothing gets through, further
ones are tried once.

Anyone who can write to the events topic decides how many and how large they are, so all of it is bounded: what a letter
carries of its record, how many are on their way, and how many lines the log gets.
"""

import asyncio
import hashlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, Protocol

from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    InvalidTopicError,
    KafkaError,
    MessageSizeTooLargeError,
    PolicyViolationError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
)

from agents.log_fields import record_fields
from app import telemetry
from app.batches import Record, begin_of
from app.microstructure.events import BadEventError

logger = logging.getLogger(__name__)

MAX_VALUE_BYTES: Final = 64 << 10
MAX_KEY_BYTES: Final = 1 << 10
PATIENCE_SEC: Final = 30.0
MAX_WAITING: Final = 1000
_REMEMBERED: Final = 1000
_AGAIN_SEC: Final = 1.0
_LINES_A_SECOND: Final = 10

_TOO_LARGE: Final = (MessageSizeTooLargeError, RecordListTooLargeError)
# However often it is asked, Kafka answers the same until a person changes something.
_REFUSED: Final = (
    *_TOO_LARGE,
    ClusterAuthorizationFailedError,
    InvalidTopicError,
    PolicyViolationError,
    TopicAuthorizationFailedError,
)


class Publish(Protocol):
    """Sends keys and values, in order, to a partition of a topic or to the one that the key belongs to."""

    async def __call__(
        self, topic: str, partition: int | None, records: list[tuple[bytes | None, bytes | None]], **headers: bytes
    ) -> None:
        """Be done when the brokers have all of them. Raises KafkaError."""


class DeadLetters:
    """Sends records to `topic`."""

    def __init__(
        self, publish: Publish, topic: str, *, again_sec: float = _AGAIN_SEC, patience_sec: float = PATIENCE_SEC
    ) -> None:
        self._publish = publish
        self._topic = topic
        self._again_sec = again_sec
        self._patience_sec = patience_sec
        self._sent: deque[tuple[float, str]] = deque(maxlen=_REMEMBERED)
        self._lost: deque[tuple[float, str]] = deque(maxlen=_REMEMBERED)
        self._waiting: dict[asyncio.Task[None], float] = {}
        self._gets_through = True
        self._lines = _Lines()

    def send(self, record: Record, error: BadEventError, done: Callable[[], None]) -> None:
        """Send a record aside; `done` is called when the broker has it, or it is lost."""
        fields = record_fields(record)
        self._lines.say(logging.WARNING, fields, "unusable message: %s", error)
        now = time.monotonic()
        self._sent.append((now, error.reason))
        if len(self._waiting) >= MAX_WAITING:
            self._lose(begin_of(record), fields, f"{MAX_WAITING} are on their way already")
            done()
            return
        # Made here: a record may be 32 MB, and a thousand may be waiting.
        letter = _Letter.of(record, error, fields)
        self._waiting[asyncio.ensure_future(self._deliver(letter, done))] = now

    async def _deliver(self, letter: "_Letter", done: Callable[[], None]) -> None:
        why = await self._refusal(letter)
        self._gets_through = why is None
        if why is not None:
            self._lose(letter.offset, letter.fields, why)
        self._waiting.pop(asyncio.current_task(), None)  # type: ignore[arg-type]  # there is one
        done()

    async def _refusal(self, letter: "_Letter") -> str | None:
        """Send until the broker has it; return why it does not take it, `None` if it has."""
        value = letter.value
        until = time.monotonic() + (self._patience_sec if self._gets_through else 0.0)
        while True:
            try:
                await self._publish(self._topic, None, [(letter.key, value)], **letter.headers)
            except _REFUSED as error:
                if not isinstance(error, _TOO_LARGE) or not value:
                    return repr(error)
                value = b""  # a topic with a small limit: where the record is, and why, is more than nothing
            except (KafkaError, OSError, TimeoutError) as error:
                if time.monotonic() >= until:
                    return repr(error)
                telemetry.ERRORS.labels("dead_letters", "not_sent").inc()
                self._lines.say(logging.WARNING, letter.fields, "a dead letter is sent again: %r", error)
                await asyncio.sleep(self._again_sec)
            except Exception as error:  # commits would wait for ever
                logger.exception("a dead letter cannot be sent")
                return repr(error)
            else:
                return None

    def _lose(self, offset: int, fields: dict[str, object], why: str) -> None:
        telemetry.ERRORS.labels("dead_letters", "lost").inc()
        self._lost.append((time.monotonic(), why))
        self._lines.say(logging.ERROR, fields, "no dead letter for offset %d: %s", offset, why)

    def since(self, when: float) -> Iterator[str]:
        """Yield the reasons of those sent after monotonic second `when`, of the last thousand."""
        return (reason for sent_at, reason in self._sent if sent_at > when)

    def lost_since(self, when: float) -> list[str]:
        """Return why those were lost that were lost after monotonic second `when`, of the last thousand."""
        return [why for lost_at, why in self._lost if lost_at > when]

    def waiting_since(self) -> float | None:
        """Return when the oldest was sent that no broker has acknowledged, `None` if there is none."""
        return min(self._waiting.values(), default=None)


class _Letter(NamedTuple):
    """What is sent of a record, cut to size, and what log lines say of it."""

    offset: int
    key: bytes | None
    value: bytes
    headers: dict[str, bytes]
    fields: dict[str, object]

    @classmethod
    def of(cls, record: Record, error: BadEventError, fields: dict[str, object]) -> "_Letter":
        key, value = record.key and record.key[:MAX_KEY_BYTES], (record.value or b"")[:MAX_VALUE_BYTES]
        return cls(begin_of(record), key, value, _headers(record, error), fields)


class _Lines:
    """Log lines about records, some a second; of the others it is said how many there were."""

    def __init__(self) -> None:
        self._second = 0
        self._said = self._unsaid = 0

    def say(self, level: int, fields: dict[str, object], text: str, *arguments: object) -> None:
        second = int(time.monotonic())
        if second != self._second:
            if self._unsaid:
                logger.warning("%d more lines like these were left out", self._unsaid)
            self._second, self._said, self._unsaid = second, 0, 0
        if self._said >= _LINES_A_SECOND:
            self._unsaid += 1
            return
        self._said += 1
        logger.log(level, text, *arguments, extra=fields)


def _headers(record: Record, error: BadEventError) -> dict[str, bytes]:
    headers = {
        "reason": error.reason.encode(),
        "detail": str(error)[:500].encode(errors="replace"),
        "source_topic": record.topic.encode(),
        "source_partition": str(record.partition).encode(),
        "source_offset": str(begin_of(record)).encode(),
    }
    if begin_of(record) != record.offset:
        headers["source_last_offset"] = str(record.offset).encode()
    for name, content, limit in (("key", record.key, MAX_KEY_BYTES), ("value", record.value, MAX_VALUE_BYTES)):
        if content and len(content) > limit:
            headers[f"{name}_size"] = str(len(content)).encode()
            headers[f"{name}_sha256"] = hashlib.sha256(content).hexdigest().encode()
    return headers
