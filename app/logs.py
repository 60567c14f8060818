"""Logs: one JSON object a line on standard error, with the fields of the contract (docs/schemas/log.json).

`logger.info("…", extra={"symbol": …, "stream_id": …})` fills the fields; those not given are null.

From `configure` on, all that Python would write to standard error by itself becomes such a line too: warnings,
exceptions that nobody caught, in whatever thread, and calls of a logger that cannot be formatted. What native code
writes past Python is for `producer.log_output`. Secrets are blotted out wherever they stand.

A program that refuses to start, because of a setting or an option, says so before that, in one plain line to whoever
started it.
"""

import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final

import msgspec

from app.security.secret import HIDDEN

_CONTEXT: Final = ("symbol", "lag_ms", "node_id", "stream_id", "event_type")
_CHATTY: Final = ("faust", "mode")  # what they say at INFO is for those who debug them
_MOST_KINDS: Final = 1000
_NUMBER: Final = re.compile(r"\d+(\.\d+)?")
_SHORTEST_SECRET: Final = 4  # to blot out each "a" would leave no log
_encode = msgspec.json.Encoder(enc_hook=str).encode
_uncaught = logging.getLogger("uncaught")


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON, whatever the record is; `secrets` are replaced."""

    def __init__(self, component: str, node_id: str, secrets: Collection[str] = ()) -> None:
        super().__init__()
        self._component = component
        self._node_id = node_id
        self._secrets = [secret for secret in secrets if len(secret) >= _SHORTEST_SECRET]

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a JSON object with the contract's fields, and `error` where there is a traceback."""
        entry = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
            "level": record.levelname,
            "component": self._component,
            **{name: getattr(record, name, None) for name in _CONTEXT},
            "message": self._clean(message_of(record)),
        }
        entry["node_id"] = entry["node_id"] or self._node_id
        if record.exc_info and record.exc_info[0] is not None:
            entry["error"] = self._clean(self.formatException(record.exc_info))
        return _encode(entry).decode()

    def _clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        # File names and what a peer sent may hold halves of characters, for which JSON has no bytes.
        return text.encode("utf-8", "backslashreplace").decode()


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
        message, now = message_of(record), self._monotonic()
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


def message_of(record: logging.LogRecord) -> str:
    """Return the record's message; where its arguments do not fit, both as they are."""
    try:
        return record.getMessage()
    except Exception:  # a slip in some library's call must neither raise in that call nor be lost
        return f"{record.msg!r} with {record.args!r}"


def configure(component: str, node_id: str, level: str, secrets: Collection[str] = ()) -> None:
    """Send every log record of this process, and whatever else Python reports, to standard error as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(component, node_id, secrets))
    handler.addFilter(Repeats())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    if level == "INFO":
        for chatty in _CHATTY:
            logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread
    sys.unraisablehook = _log_unraisable


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):  # whoever pressed Ctrl-C knows
        _uncaught.critical("the process ends: %r", error, exc_info=(kind, error, trace))


def _log_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    name = args.thread.name if args.thread else "?"
    _uncaught.critical("thread %s ended: %r", name, args.exc_value, exc_info=_triple(args.exc_value))


def _log_unraisable(args: Any) -> None:
    what = args.err_msg or "exception ignored in"
    _uncaught.error("%s %r: %r", what, args.object, args.exc_value, exc_info=_triple(args.exc_value))


def _triple(
    error: BaseException | None,
) -> tuple[type[BaseException], BaseException, TracebackType | None] | None:
    return None if error is None else (type(error), error, error.__traceback__)
