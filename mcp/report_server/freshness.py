"""A stored report, and what it is at the moment of an answer: the ages that it carries run on until then.

A worker writes `data_age_ms` and `ingestion.last_event_age_ms` as they are when it writes. A reader answers later, and
an age that stood still would make an old report look new. So both are raised by the time since the report was written
(`clocks` says when that was), by replacing their digits in the stored bytes: nothing else is decoded and encoded again.
Where the digits cannot be found beyond doubt the report is encoded again, with the same result.

A report whose writer has been quiet for longer than the limit is marked: `ingestion.stale`, status `down`, health 0.
Its stored bytes still say `ok`, because nobody was left to say otherwise.
"""

import hashlib
import re
from typing import Any, Final

import msgspec

from app.microstructure import rfc3339
from app.stores.base import Reading
from app.undecodable import UNDECODABLE
from report_server.selection import Selection

_AGE_KEYS: Final = (b'"data_age_ms":', b'"last_event_age_ms":')
_DIGITS: Final = re.compile(rb"\d+")
_MOST_PARTS: Final = 8
_NANOS_PER_MS: Final = 10**6

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


class Fresh(msgspec.Struct, frozen=True, gc=False):
    """A report as it is now.

    Attributes:
        body: its JSON.
        report: the same, decoded.
        stale: its writer is gone, and it is marked accordingly.
        etag: HTTP's name of this version of the report; ages alone do not change it.
    """

    body: bytes
    report: dict[str, Any]
    stale: bool
    etag: str

    @property
    def age_ms(self) -> int | None:
        """How old the market data is now, `None` if the report does not say."""
        return _count(self.report.get("data_age_ms"))


class Stored:
    """One version of a report as a worker wrote it.

    Attributes:
        raw: its bytes.
        updated_at: when its writer says that it was written, in epoch ms; 0 if it does not say.
        node: who wrote it, `None` where the report does not say.
        epoch: the writer's epoch, `None` where the report does not say.
        order: epoch of the writer, offset and time in epoch ms; `None` where the report does not say all three.
        written_ms: when it was written, in ms on this process' monotonic clock; the caller that makes it sets this.
        noted_ms: when it was written, as the store noted it (`Reading.written_ms`). A worker whose clock was set back
            may write the same bytes again, which are a newer version all the same.
        trusted: `written_ms` rests on a clock that can be right. What nobody can date is stale.

    Raises:
        ValueError: the bytes are not a JSON object in UTF-8.
    """

    __slots__ = (
        *("_etag", "_parts", "_report", "_spans", "epoch", "node", "noted_ms", "order", "raw", "trusted"),
        *("updated_at", "written_ms"),
    )

    def __init__(self, raw: bytes, written_ms: int = 0, noted_ms: int | None = None) -> None:
        try:
            self._report = _decode(raw)
        except UNDECODABLE as error:
            raise ValueError("not a JSON object") from error
        self.raw = raw
        self.written_ms = written_ms
        self.noted_ms = noted_ms
        self.trusted = True
        self.updated_at = _count(self._report.get("updatedAt")) or 0
        writer = self._report.get("writer")
        self.node, self.epoch = _who(writer) if isinstance(writer, dict) else (None, None)
        self.order = self._order()
        self._etag = hashlib.blake2b(raw, digest_size=8).hexdigest()
        self._spans = self._age_spans()
        self._parts: dict[Selection, dict[str, Any]] = {}

    def _order(self) -> tuple[int, int, int] | None:
        provenance = self._report.get("provenance")
        offset = provenance.get("offset") if isinstance(provenance, dict) else None
        if self.epoch is None or type(offset) is not int:
            return None
        return self.epoch, offset, self.updated_at

    def correct_data_age(self, written_ms: int) -> None:
        """Let the data be as old as a clock says by which the report was written at `written_ms` (epoch ms).

        The worker reckons that age by its own wall clock. A report without it, or without a time of its newest event,
        stays as it is.
        """
        provenance = self._report.get("provenance")
        try:
            event_ms = rfc3339.parse(provenance["ts_event"]) // _NANOS_PER_MS if isinstance(provenance, dict) else None
        except (KeyError, TypeError, ValueError):
            return
        if event_ms is not None and _ages(self._report)[0] is not None:
            self._report["data_age_ms"] = max(0, written_ms - event_ms)

    def is_of(self, reading: Reading) -> bool:
        """Whether what was read is this version."""
        return self.raw == reading.body and reading.written_ms in (None, self.noted_ms)

    def at(self, now_ms: int, stale_after_ms: int) -> Fresh:
        """Return the report as it is at `now_ms` of the monotonic clock."""
        quiet_ms = self._quiet_ms(now_ms)
        stale = self._is_stale(quiet_ms, stale_after_ms)
        report = self._after(quiet_ms, stale)
        if stale:
            return Fresh(_encode(report), report, True, f'W/"{self._etag}-stale"')
        body = self._spliced(report) if self._spans else _encode(report)
        return Fresh(body, report, False, f'W/"{self._etag}"')

    def state_at(self, now_ms: int, stale_after_ms: int) -> tuple[str | None, int | None]:
        """Return the state of the ingestion and the age of the data in ms, `None` where the report does not say."""
        quiet_ms = self._quiet_ms(now_ms)
        age_ms, _ = _ages(self._report)
        ingestion = self._report.get("ingestion")
        status = ingestion.get("status") if isinstance(ingestion, dict) else None
        if self._is_stale(quiet_ms, stale_after_ms):
            status = "down"
        return status if isinstance(status, str) else None, age_ms + quiet_ms if age_ms is not None else None

    def part_at(self, selection: Selection | None, now_ms: int, stale_after_ms: int) -> dict[str, Any]:
        """Return the part of the report that is asked for, as it is at `now_ms`; all of it for `None`."""
        quiet_ms = self._quiet_ms(now_ms)
        stale = self._is_stale(quiet_ms, stale_after_ms)
        if selection is None or stale:
            report = self._after(quiet_ms, stale)
            return report if selection is None else selection.of(report)
        # Only ages change while the bytes do not, so the rest is chosen once.
        part = self._parts.get(selection)
        if part is None:
            if len(self._parts) >= _MOST_PARTS:
                self._parts.clear()
            part = self._parts[selection] = selection.of(self._report)
        return _aged(part, quiet_ms)

    def _quiet_ms(self, now_ms: int) -> int:
        return max(0, now_ms - self.written_ms)

    def _is_stale(self, quiet_ms: int, stale_after_ms: int) -> bool:
        return quiet_ms > stale_after_ms or not self.trusted

    def _after(self, quiet_ms: int, stale: bool) -> dict[str, Any]:
        report = _aged(self._report, quiet_ms)
        return _marked_stale(report) if stale else report

    def _age_spans(self) -> tuple[tuple[int, int], ...]:
        """Return where the digits of both ages are in the bytes, () unless that is beyond doubt.

        A key that occurs once in the bytes and is in the decoded report is that key: inside a JSON text its quotes
        would be escaped.
        """
        spans = []
        for key, value in zip(_AGE_KEYS, _ages(self._report), strict=True):
            found = _DIGITS.match(self.raw, self.raw.find(key) + len(key)) if self.raw.count(key) == 1 else None
            if found is None or value is None or found.group() != b"%d" % value:
                return ()
            spans.append(found.span())
        return tuple(spans) if spans[0] < spans[1] else ()

    def _spliced(self, report: dict[str, Any]) -> bytes:
        (start, end), (later_start, later_end) = self._spans
        data_age, event_age = _ages(report)
        raw = self.raw
        return b"%b%d%b%d%b" % (raw[:start], data_age or 0, raw[end:later_start], event_age or 0, raw[later_end:])


def _ages(report: dict[str, Any]) -> tuple[int | None, int | None]:
    ingestion = report.get("ingestion")
    event_age = ingestion.get("last_event_age_ms") if isinstance(ingestion, dict) else None
    return _count(report.get("data_age_ms")), _count(event_age)


def _who(writer: dict[str, Any]) -> tuple[str | None, int | None]:
    node, epoch = writer.get("nodeId"), writer.get("writerToken")
    return node if isinstance(node, str) else None, epoch if type(epoch) is int else None


def _count(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _aged(report: dict[str, Any], quiet_ms: int) -> dict[str, Any]:
    data_age, event_age = _ages(report)
    aged = dict(report)
    if data_age is not None:
        aged["data_age_ms"] = data_age + quiet_ms
    if event_age is not None:
        aged["ingestion"] = report["ingestion"] | {"last_event_age_ms": event_age + quiet_ms}
    return aged


def _marked_stale(report: dict[str, Any]) -> dict[str, Any]:
    ingestion, health = report.get("ingestion"), report.get("health")
    components = health.get("components") if isinstance(health, dict) else None
    return report | {
        "ingestion": (ingestion if isinstance(ingestion, dict) else {}) | {"status": "down", "stale": True},
        "health": {
            "score": 0.0,
            "components": (components if isinstance(components, dict) else {}) | {"freshness": 0.0},
        },
    }
