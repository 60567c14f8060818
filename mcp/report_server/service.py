"""What the reader answers, free of MCP and HTTP: a request in, an `Answer` out, always within the limit.

An answer is a value for every case, failures included, so that each surface is one mapping and cannot
forget a case. A whole report travels as the bytes that a worker wrote, with its ages brought up to the moment of the
answer (`freshness`); only what is cut down (`selection`) or stale is encoded anew.

Nothing is cached: each answer rests on a read that began after the question (`app/stores/shared_reads`). What is kept
of a report is its decoded form, used again while the store gives the same bytes, or older ones (`newest`).
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from app.microstructure.events import is_symbol
from app.stores.base import Reading, StoreUnavailableError
from app.stores.shared_reads import PROBE, SharedReads
from report_server import metric_docs
from report_server.arguments import SymbolsError, checked_symbols, refusal
from report_server.clocks import Clocks
from report_server.freshness import Stored
from report_server.newest import Newest
from report_server.selection import Selection, SelectionError, selection
from report_server.shared_call import SharedCall
from report_server.symbol_list import SymbolList

if TYPE_CHECKING:
    from app.traces_reader import ReaderTraces

_log = logging.getLogger(__name__)

# The store gets less than the whole limit, so that its failure can still be answered within it.
_STORE_SHARE: Final = 0.8
# A store that comes and goes under load would otherwise write two lines for each call.
_LOG_PAUSE_SEC: Final = 5.0
# Kinds of trouble whose lines name servers, which is not for everybody who may see /health.
_WITH_ADDRESSES: Final = ("unavailable", "no_master")
_MOST_KEPT: Final = 512
_MOST_SEVERAL: Final = 32  # each holds up to fifty reports


class ReportSource(Protocol):
    """The half of a report store that a reader may use. Both may raise `StoreUnavailableError`."""

    async def readings(self, symbols: Sequence[str]) -> Mapping[str, Reading | None]:
        """Return the newest report of each symbol with its times, `None` where there is none."""

    async def symbols(self, limit: int) -> list[str]:
        """Return symbols that have a report, sorted, at most `limit`."""


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
        body: JSON of the whole answer: what was asked for, `null`, or `{"error": …}`.
        content: the same, decoded; empty unless the outcome is FOUND.
        symbol: the symbol asked for, `None` if it was malformed or there were several.
        error: one line for the caller, `None` where there is an answer.
        etag: HTTP's name of this version of a report; ages alone do not change it.
        age_ms: how old the market data is now, where the answer is one report.
    """

    outcome: Outcome
    body: bytes
    content: dict[str, Any] = {}
    symbol: str | None = None
    error: str | None = None
    etag: str | None = None
    age_ms: int | None = None


class StoreCheck(msgspec.Struct, frozen=True):
    """Whether the store answered a read, after how many milliseconds, and if not, why."""

    latency_ms: float
    error: str | None = None


class ReportService:
    """Answers requests from `source`, each within `timeout_sec`.

    A report counts as stale after `stale_after_ms`; what was answered counts for `forget_sec` against a store that has
    gone back, see `Newest`.

    Attributes:
        traces: what traces answers of `get_report`, `None` where traces are off.
        clocks: when reports were written, and whose clock is wrong.
        newest: what was answered last of each report.
        trouble: why the store did not answer the last time, `None` if it did.
    """

    def __init__(
        self,
        source: ReportSource,
        timeout_sec: float,
        stale_after_ms: int,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        *,
        forget_sec: float = 300.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.traces: ReaderTraces | None = None
        self._reads = SharedReads(source.readings, timeout_sec * _STORE_SHARE)
        self._symbols = SymbolList(source.symbols)
        self._listing = SharedCall(self._list)
        self._stale_after_ms = stale_after_ms
        self.timeout_sec = timeout_sec
        self.away = f"the report store is away or did not answer within {timeout_sec * 1000:.0f} ms; try again"
        self.clocks = Clocks(monotonic, wall_ms)
        self.newest = Newest(stale_after_ms / 1000, forget_sec, self.clocks)
        # Callers of the same millisecond get the same answer: a hundred of them make one.
        self._last: dict[str, tuple[Stored, int, Answer]] = {}
        self._last_several: dict[tuple[tuple[str, ...], Selection | None], tuple[int, list[bytes | None], Answer]] = {}
        self.trouble: str | None = None
        self._reachable = True
        self._log_after = 0.0

    async def get_report(self, symbol: object, detail: object = None, fields: object = None) -> Answer:
        """Return the newest report of `symbol` or a part of it; the arguments may be anything a caller sent."""
        if not isinstance(symbol, str) or not is_symbol(symbol):
            return _failed(Outcome.INVALID, None, refusal(symbol))
        try:
            chosen = selection(detail, fields)
            began_ns = time.time_ns() if self.traces is not None else 0
            reading = await self._reads.read(symbol)
        except SelectionError as error:
            return _failed(Outcome.INVALID, symbol, str(error))
        except StoreUnavailableError as error:
            return self._unavailable(symbol, error)
        self._note_reachable(True, "")
        if reading is None:
            self._last.pop(symbol, None)
            return Answer(Outcome.ABSENT, b"null", symbol=symbol)
        try:
            whole = self._whole(symbol, reading)
        except ValueError:
            return self._corrupt(symbol)
        if self.traces is not None:
            self.traces.answered(symbol, whole.content, began_ns)
        if chosen is None:
            return whole
        stored, at_ms, _ = self._last[symbol]
        part = stored.part_at(chosen, at_ms, self._stale_after_ms)
        return msgspec.structs.replace(whole, body=msgspec.json.encode(part), content=part)

    async def get_reports(self, symbols: object, detail: object = None, fields: object = None) -> Answer:
        """Return `{"reports": {symbol: report or null}}`; each is a summary unless the arguments say otherwise."""
        try:
            wanted = checked_symbols(symbols)
            chosen = selection(detail or "summary", fields)
            readings = await self._reads.read_all(wanted)
        except (SelectionError, SymbolsError) as error:
            return _failed(Outcome.INVALID, None, str(error))
        except StoreUnavailableError as error:
            return self._unavailable(None, error)
        self._note_reachable(True, "")
        now_ms, asked = self.clocks.now_ms(), (tuple(wanted), chosen)
        bodies = [reading.body if reading is not None else None for reading in readings]
        if (last := self._last_several.get(asked)) is not None and last[:2] == (now_ms, bodies):
            return last[2]
        reports: dict[str, Any] = {}
        for symbol, reading in zip(wanted, readings, strict=True):
            try:
                stored = self.newest.of(symbol, reading) if reading is not None else None
            except ValueError:
                return self._corrupt(symbol)
            reports[symbol] = stored and stored.part_at(chosen, now_ms, self._stale_after_ms)
        if len(self._last_several) >= _MOST_SEVERAL:
            self._last_several.clear()
        answer = _found({"reports": reports})
        self._last_several[asked] = (now_ms, bodies, answer)
        return answer

    async def list_symbols(self) -> Answer:
        """Return `{"symbols": [{symbol, status, age_ms}], "total": n}`, by name; see `SymbolList` for the bound."""
        try:
            async with asyncio.timeout(self.timeout_sec * _STORE_SHARE):
                return await self._listing()
        except TimeoutError as error:
            return self._unavailable(None, error)

    async def _list(self) -> Answer:
        try:
            if (down := self._reads.down) is not None:
                raise down
            async with asyncio.timeout(self.timeout_sec * _STORE_SHARE):
                names = await self._symbols.get()
                readings = await self._reads.read_all(names)
        except (StoreUnavailableError, TimeoutError) as error:
            return self._unavailable(None, error)
        self._note_reachable(True, "")
        now_ms = self.clocks.now_ms()
        listed = []
        for symbol, reading in zip(names, readings, strict=True):
            if reading is None:
                continue
            try:
                status, age_ms = self.newest.of(symbol, reading).state_at(now_ms, self._stale_after_ms)
            except ValueError:
                _log.error("report:%s in the store is not a JSON object", symbol)
                continue
            listed.append({"symbol": symbol, "status": status, "age_ms": age_ms})
        return _found({"symbols": listed, "total": len(listed)})

    async def explain_metric(self, name: object) -> Answer:
        """Return `{name, title, text}`: what a number of a report means."""
        try:
            explanation = metric_docs.explain(name)
        except metric_docs.UnknownMetricError as error:
            return _failed(Outcome.INVALID, None, str(error))
        return _found(msgspec.structs.asdict(explanation))

    async def check_store(self) -> StoreCheck:
        """Read the store once, the way `get_report` does, so that rights and timeouts are checked too."""
        started = time.perf_counter()
        error = None
        try:
            await self._reads.read(PROBE)
            self._note_reachable(True, "")
        except StoreUnavailableError as unavailable:
            away = self._unavailable(None, unavailable).error
            error = away if unavailable.kind in _WITH_ADDRESSES else self.trouble
        return StoreCheck(round((time.perf_counter() - started) * 1000, 3), error)

    async def close(self) -> None:
        """Give up what is under way."""
        await self._reads.close()

    def _whole(self, symbol: str, reading: Reading) -> Answer:
        now_ms = self.clocks.now_ms()
        last = self._last.get(symbol)
        stored = self.newest.of(symbol, reading)
        if last is not None and last[1] == now_ms and last[0] is stored:
            return last[2]
        fresh = stored.at(now_ms, self._stale_after_ms)
        answer = Answer(Outcome.FOUND, fresh.body, fresh.report, symbol=symbol, etag=fresh.etag, age_ms=fresh.age_ms)
        if len(self._last) >= _MOST_KEPT:
            self._last.clear()
        self._last[symbol] = (stored, now_ms, answer)
        return answer

    def _unavailable(self, symbol: str | None, error: Exception) -> Answer:
        self._note_reachable(False, str(error) or "no answer in time")
        return _failed(Outcome.UNAVAILABLE, symbol, self.away)

    def _corrupt(self, symbol: str) -> Answer:
        _log.error("report:%s in the store is not a JSON object", symbol)
        return _failed(Outcome.CORRUPT, symbol, f"the stored report of {symbol} is not a JSON object")

    def _note_reachable(self, reachable: bool, why: str) -> None:
        self.trouble = None if reachable else why
        if reachable is self._reachable:
            return
        now = time.monotonic()
        if now < self._log_after:
            return
        self._reachable, self._log_after = reachable, now + _LOG_PAUSE_SEC
        if reachable:
            _log.warning("the report store answers again")
        else:
            _log.warning("the report store does not answer: %s", why)


def _found(content: dict[str, Any]) -> Answer:
    return Answer(Outcome.FOUND, msgspec.json.encode(content), content)


def _failed(outcome: Outcome, symbol: str | None, error: str) -> Answer:
    return Answer(outcome, msgspec.json.encode({"error": error}), symbol=symbol, error=error)
