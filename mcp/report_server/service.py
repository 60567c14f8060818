"""What the reader answers, free of MCP and HTTP: a symbol in, an `Answer` out, always within the limit.

An answer is a value for every case, failures included, so that each surface is one mapping and cannot
forget a case. The stored bytes travel untouched: HTTP sends them as they are, MCP as its text block. They
are parsed once, to make sure that what is passed on is a JSON object and to give MCP its structured form.

One thing only is changed: a report whose writer has gone quiet is marked stale, with status `down`. Its bytes
still say `ok`, because nobody was left to say otherwise.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from enum import Enum
from typing import Any, Final, Protocol

import msgspec

from app.microstructure.events import SYMBOL_ALLOWED, is_symbol
from app.stores.base import StoreUnavailableError

_log = logging.getLogger(__name__)

_LONGEST_ECHO: Final = 60
# Each read holds a connection, and redis-py's pool refuses the 101st at once. Redis answers one command after
# the other, so more reads at a time would not be answered sooner: they wait here, within their limit.
_READS_AT_ONCE: Final = 90
# A store that comes and goes under load would otherwise write two lines for each call.
_LOG_PAUSE_SEC: Final = 5.0
# Lower case, so that no report can ever have it: the probe's key is report:health.
_PROBE: Final = "health"


class ReportSource(Protocol):
    """The half of a report store that a reader may use."""

    async def read(self, symbol: str) -> bytes | None:
        """Return the newest report's JSON, `None` if there is none.

        Raises:
            StoreUnavailableError: the store cannot be reached.
        """


class Outcome(Enum):
    """How a request ended: a word for metrics, and the HTTP status that says the same."""

    FOUND = ("ok", 200)
    ABSENT = ("null", 200)
    INVALID = ("invalid_argument", 400)
    UNAVAILABLE = ("unavailable", 503)
    CORRUPT = ("corrupt", 500)

    def __init__(self, word: str, http_status: int) -> None:
        self.word = word
        self.http_status = http_status


class Answer(msgspec.Struct, frozen=True):
    """The answer to one request.

    Attributes:
        body: JSON of the whole answer: the report as stored, `null`, or `{"error": …}`.
        report: the parsed report; empty unless the outcome is FOUND.
        symbol: the symbol asked for, `None` if it was malformed.
        error: one line for the caller, `None` where there is an answer.
    """

    outcome: Outcome
    body: bytes
    report: dict[str, Any] = {}
    symbol: str | None = None
    error: str | None = None


class StoreCheck(msgspec.Struct, frozen=True):
    """Whether the store answered a read, after how many milliseconds, and if not, why."""

    latency_ms: float
    error: str | None = None


class ReportService:
    """Answers requests from `source`, each within `timeout_sec`."""

    def __init__(
        self,
        source: ReportSource,
        timeout_sec: float,
        stale_after_ms: int,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._source = source
        self._stale_after_ms = stale_after_ms
        self._wall_ms = wall_ms
        self._timeout_sec = timeout_sec
        limit = f"{timeout_sec * 1000:.0f} ms"
        self._away = f"the report store is away or did not answer within {limit}; try again"
        self._slots = asyncio.Semaphore(_READS_AT_ONCE)
        self._reachable = True
        self._log_after = 0.0

    async def get_report(self, symbol: object) -> Answer:
        """Return the newest report of `symbol`, which may be anything a caller sent."""
        if not isinstance(symbol, str) or not is_symbol(symbol):
            return _failed(Outcome.INVALID, None, _refusal(symbol))
        try:
            body = await self._read(symbol)
        except StoreUnavailableError as error:
            return _failed(Outcome.UNAVAILABLE, symbol, str(error))
        if body is None:
            return Answer(Outcome.ABSENT, b"null", symbol=symbol)
        report = _parse(body)
        if report is None:
            _log.error("report:%s in the store is not a JSON object", symbol)
            return _failed(Outcome.CORRUPT, symbol, f"the stored report of {symbol} is not a JSON object")
        quiet_ms = self._wall_ms() - _updated_at(report)
        if quiet_ms > self._stale_after_ms:
            report = _stale(report, quiet_ms)
            body = msgspec.json.encode(report)
        return Answer(Outcome.FOUND, body, report, symbol)

    async def check_store(self) -> StoreCheck:
        """Read the store once, the way `get_report` does, so that rights and timeouts are checked too."""
        started = time.perf_counter()
        error = None
        try:
            await self._read(_PROBE)
        except StoreUnavailableError as unavailable:
            error = str(unavailable)
        return StoreCheck(round((time.perf_counter() - started) * 1000, 3), error)

    async def _read(self, symbol: str) -> bytes | None:
        try:
            async with asyncio.timeout(self._timeout_sec), self._slots:
                body = await self._source.read(symbol)
        except (TimeoutError, StoreUnavailableError) as error:
            self._note_reachable(False, repr(error))
            raise StoreUnavailableError(self._away) from error
        self._note_reachable(True, "")
        return body

    def _note_reachable(self, reachable: bool, why: str) -> None:
        now = time.monotonic()
        if reachable is self._reachable or now < self._log_after:
            return
        self._reachable, self._log_after = reachable, now + _LOG_PAUSE_SEC
        if reachable:
            _log.warning("the report store answers again")
        else:
            _log.warning("the report store does not answer: %s", why)


def _parse(body: bytes) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _updated_at(report: dict[str, Any]) -> int:
    """Return when the report was written, in ms; 0, so long ago, if it does not say."""
    updated_at = report.get("updatedAt")
    return updated_at if isinstance(updated_at, int) else 0


def _stale(report: dict[str, Any], quiet_ms: int) -> dict[str, Any]:
    """Return the report as what it is now: nobody has kept it up to date for `quiet_ms`."""
    ingestion = report.get("ingestion") or {}
    health = report.get("health") or {}
    return report | {
        "data_age_ms": report.get("data_age_ms", 0) + quiet_ms,
        "ingestion": ingestion
        | {
            "status": "down",
            "stale": True,
            "last_event_age_ms": ingestion.get("last_event_age_ms", 0) + quiet_ms,
        },
        "health": {"score": 0.0, "components": health.get("components", {}) | {"freshness": 0.0}},
    }


def _refusal(symbol: object) -> str:
    if symbol is None:
        return f"invalid argument: symbol is missing; allowed: {SYMBOL_ALLOWED}"
    shown = ascii(symbol)
    if len(shown) > _LONGEST_ECHO:
        shown = shown[:_LONGEST_ECHO] + "…"
    return f"invalid argument: symbol {shown}; allowed: {SYMBOL_ALLOWED}"


def _failed(outcome: Outcome, symbol: str | None, error: str) -> Answer:
    return Answer(outcome, msgspec.json.encode({"error": error}), symbol=symbol, error=error)
