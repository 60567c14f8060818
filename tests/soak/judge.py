"""Holds every report that a reader sees to rules of its own, sharing no code with the product.

It is told of each report as it is found in Redis, and keeps of each symbol the last one and what happened since. Rules
that look at one report, or at one and the one before, fire at once; silences are judged at the end, when it is known
which faults excuse them (`soak/gaps.py`).
"""

import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final, NamedTuple

# What the contract calls degraded and down, by default, and the time that a report takes to be written.
_DEGRADED_MS: Final = 1000
_DOWN_MS: Final = 10_000
_SHOWN_EACH: Final = 50

_PRICES: Final = ("last_price", "high_24h", "low_24h", "mid_price", "micro_price")
_LEVEL_1: Final = ("best_bid", "best_ask", "spread_bps", "mid_price", "micro_price")


class Violation(NamedTuple):
    """A rule that was broken: at which moment (monotonic seconds), for which symbol, and how."""

    at: float
    rule: str
    symbol: str
    detail: str


class Seen(NamedTuple):
    """What of a report is compared with the next."""

    at: float
    updated_ms: int
    node: str
    token: int
    offset: int
    ts_event: str
    watched_since: float
    gap_count: int
    book_ok: bool
    status: str


def unix(text: str) -> float:
    """Return an event time as Unix seconds."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    return datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp() + float(f"0.{fraction or 0}")


class Judge:
    """Judges reports and writer tokens of all symbols.

    Attributes:
        violations: what was broken, at most 50 of each rule with details; `counts` has all.
        seen: what was seen of each symbol, in order.
        reports: how many reports were judged.
    """

    def __init__(
        self, schema_error: Callable[[Any], str | None], tell: Callable[[Violation], object] = lambda _: None
    ) -> None:
        """`schema_error` returns in what a decoded report breaks its schema, `None` if in nothing.

        `tell` is called with each violation that is kept, at once.
        """
        self._schema_error = schema_error
        self._tell = tell
        self._tokens: dict[str, int] = {}
        self.violations: list[Violation] = []
        self.counts: Counter[str] = Counter()
        self.seen: dict[str, list[Seen]] = {}
        self.reports = 0

    def report(self, at: float, symbol: str, body: bytes) -> None:
        """Judge what was found under `report:SYMBOL`, if it is another than before."""
        try:
            report = json.loads(body)
        except ValueError as error:
            self.broken(at, "report is JSON", symbol, f"{error}: {body[:80]!r}")
            return
        self.reports += 1
        if breach := self._schema_error(report):
            self.broken(at, "schema", symbol, breach)
            return
        if report["symbol"] != symbol:
            self.broken(at, "report is its symbol's", symbol, str(report["symbol"]))
        for rule, detail in [*_unknown(report), *_book(report), *_freshness(report)]:
            self.broken(at, rule, symbol, detail)
        self._after(symbol, _seen(at, report))

    def token(self, at: float, symbol: str, value: bytes) -> None:
        """Judge what was found under `report:writer:token:SYMBOL`."""
        token, before = int(value), self._tokens.get(symbol, 0)
        if token < before:
            self.broken(at, "token key never falls", symbol, f"{before} -> {token}")
        self._tokens[symbol] = token

    def broken(self, at: float, rule: str, symbol: str, detail: str) -> None:
        """Note that a rule was broken."""
        self.counts[rule] += 1
        if self.counts[rule] <= _SHOWN_EACH:
            self.violations.append(Violation(at, rule, symbol, detail))
            self._tell(self.violations[-1])

    def _after(self, symbol: str, now: Seen) -> None:
        history = self.seen.setdefault(symbol, [])
        if history:
            for rule, detail in _order(history[-1], now):
                self.broken(now.at, rule, symbol, detail)
        history.append(now)


def _seen(at: float, report: dict[str, Any]) -> Seen:
    provenance, ingestion = report["provenance"], report["ingestion"]
    return Seen(
        at,
        report["updatedAt"],
        report["writer"]["nodeId"],
        report["writer"]["writerToken"],
        provenance["offset"],
        provenance["ts_event"],
        unix(provenance["as_of"]) - ingestion["watched_sec"],
        provenance["gap_count"],
        provenance["book_ok"],
        ingestion["status"],
    )


def _order(before: Seen, now: Seen) -> list[tuple[str, str]]:
    """What never falls from one report of a symbol to the next, whoever wrote them."""
    who = f"{before.node} #{before.token} -> {now.node} #{now.token}"
    rising = {
        "writerToken never falls": (before.token, now.token),
        "offset never falls": (before.offset, now.offset),
        "updatedAt never falls": (before.updated_ms, now.updated_ms),
        # Part of a symbol's state: it begins again only where that was lost.
        "gap_count never falls": (before.gap_count, now.gap_count),
    }
    broken = [(rule, f"{old} -> {new} ({who})") for rule, (old, new) in rising.items() if new < old]
    # Whole seconds are given, so the instant that they are counted from is known to a second.
    if abs(now.watched_since - before.watched_since) > 1.0:
        broken.append(
            ("watched since one instant", f"moved by {now.watched_since - before.watched_since:.2f} s ({who})")
        )
    if before.token == now.token and before.node != now.node:
        broken.append(("one writer a token", who))
    if now.offset == before.offset and now.ts_event != before.ts_event:
        broken.append(("one offset, one newest event", f"{now.offset}: {before.ts_event} and {now.ts_event} ({who})"))
    return broken


def _unknown(report: dict[str, Any]) -> list[tuple[str, str]]:
    """What is not known is null; none of these can be 0."""
    broken = [("unknown is null", f"{name} is 0") for name in _PRICES if report[name] == 0]
    depth = report["depth"]
    for side in ("bids", "asks"):
        total, levels = depth[f"sum_{side[:-1]}"], depth[f"top_{side}"]
        if (total is None) != (not levels):
            broken.append(("unknown is null", f"depth.sum_{side[:-1]} is {total} with {len(levels)} levels"))
    # Out of sequence, the book is still known between a top-20 message and the next delta (ADR 14).
    if report["provenance"]["book_update_id"] is None:
        broken += [
            ("a book that is not known has no prices", f"{name} is {report[name]}")
            for name in _LEVEL_1
            if report[name] is not None
        ]
        if report["provenance"]["book_ok"]:
            broken.append(("a book in sequence is known", "book_update_id is null"))
    return broken


def _book(report: dict[str, Any]) -> list[tuple[str, str]]:
    """Prices that no book can have."""
    bid, ask, depth = report["best_bid"], report["best_ask"], report["depth"]
    broken = []
    if bid and ask and bid["price"] >= ask["price"]:
        broken.append(("no crossed book", f"{bid['price']} >= {ask['price']}"))
    for side, best, sign in (("bids", bid, -1), ("asks", ask, 1)):
        prices = [sign * level["price"] for level in depth[f"top_{side}"]]
        if any(later <= earlier for earlier, later in pairwise(prices)):
            broken.append(("levels are in order", f"{side}: {[sign * price for price in prices]}"))
        if best and prices and sign * prices[0] != best["price"]:
            broken.append(("level 1 is the best of the levels", f"{side}: {best['price']}, {sign * prices[0]}"))
    micro, mid = report["micro_price"], report["mid_price"]
    if bid and ask and not all(value and bid["price"] <= value <= ask["price"] for value in (micro, mid)):
        broken.append(("mid and micro are between bid and ask", f"{bid['price']} {mid} {micro} {ask['price']}"))
    return broken


def _freshness(report: dict[str, Any]) -> list[tuple[str, str]]:
    """What a report says of the age of its data fits the age that it gives."""
    status, age = report["ingestion"]["status"], report["ingestion"]["last_event_age_ms"]
    right = "ok" if age <= _DEGRADED_MS else "degraded" if age <= _DOWN_MS else "down"
    return [] if status == right else [("status fits the age", f"{status} with {age} ms")]
