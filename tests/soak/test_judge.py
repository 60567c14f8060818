"""Each rule of the judge is made to fire by a report, or two, that a broken product could have written."""

import copy
import json
from collections.abc import Callable
from typing import Any

import jsonschema_rs
import pytest

from app.microstructure.engine import EngineParams, SymbolEngine
from app.microstructure.events import Event
from app.microstructure.report import Stamp, encode
from soak.judge import Judge
from support.contracts import SCHEMAS
from support.markets import SECOND, START, deltas, snapshot, ticker, trade

SYMBOL = "BTCUSDT"
_VALIDATOR = jsonschema_rs.validator_for(json.loads((SCHEMAS / "report.json").read_text()), validate_formats=True)

Change = Callable[[dict[str, Any]], object]


def schema_error(report: Any) -> str | None:
    error = next(iter(_VALIDATOR.iter_errors(report)), None)
    return None if error is None else str(error.message)


@pytest.fixture(scope="module")
def good() -> dict[str, Any]:
    """Give a report as the engine makes it of a small market."""
    engine = SymbolEngine(SYMBOL, EngineParams())
    bids, asks = [(100.0 - n / 10, 2.0) for n in range(1, 30)], [(100.0 + n / 10, 3.0) for n in range(30)]
    events: list[Event] = [
        snapshot(7, bids, asks, at=START),
        ticker(at=START),
        trade(1, at=START),
        deltas(8, 8, [(99.5, 1.0)]),
    ]
    for offset, event in enumerate(events):
        engine.apply(event, offset)
    stamp = Stamp(node_id="w1", writer_token=3, partition=0, wall_ns=START + SECOND)
    report: dict[str, Any] = json.loads(encode(engine.report(START + SECOND // 10, stamp)))
    return report


def judged(*reports: dict[str, Any]) -> set[str]:
    judge = Judge(schema_error)
    for at, report in enumerate(reports):
        judge.report(float(at), SYMBOL, json.dumps(report).encode())
    return set(judge.counts)


def changed(report: dict[str, Any], *changes: Change) -> dict[str, Any]:
    new = copy.deepcopy(report)
    for change in changes:
        change(new)
    return new


def put(path: str, value: Any) -> Change:
    def change(report: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for name in parents:
            report = report[name]
        report[last] = value

    return change


def test_what_the_engine_makes_breaks_no_rule_once_or_twice(good: dict[str, Any]) -> None:
    later = changed(good, put("updatedAt", good["updatedAt"] + 250), put("writer.writerToken", 4), put("venue", "X"))
    assert judged(good, later) == set()


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("schema", [put("best_bid", 3)]),
        ("schema", [put("mid_price", "100")]),
        ("report is its symbol's", [put("symbol", "ETHUSDT")]),
        ("unknown is null", [put("depth.sum_bid", 0), put("depth.top_bids", []), put("best_bid", None)]),
        ("unknown is null", [put("depth.sum_ask", None)]),
        ("a book that is not known has no prices", [put("provenance.book_update_id", None)]),
        ("a book in sequence is known", [put("provenance.book_update_id", None)]),
        ("no crossed book", [put("best_bid.price", 101.0)]),
        ("no crossed book", [put("best_bid.price", 100.0)]),
        ("level 1 is the best of the levels", [put("best_bid.price", 99.8)]),
        ("levels are in order", [lambda report: report["depth"]["top_asks"].reverse()]),
        ("mid and micro are between bid and ask", [put("mid_price", 100.5)]),
        ("mid and micro are between bid and ask", [put("micro_price", None)]),
        ("status fits the age", [put("ingestion.last_event_age_ms", 1500)]),
        ("status fits the age", [put("ingestion.last_event_age_ms", 15_000), put("ingestion.status", "degraded")]),
    ],
)
def test_one_report_can_break(rule: str, changes: list[Change], good: dict[str, Any]) -> None:
    assert rule in judged(changed(good, *changes))


def test_out_of_sequence_a_book_may_be_known_by_a_top_20_message(good: dict[str, Any]) -> None:
    assert judged(changed(good, put("provenance.book_ok", False))) == set()


def test_a_price_of_0_is_never_a_price(good: dict[str, Any]) -> None:
    judge = Judge(lambda _: None)  # the schema would refuse it first
    judge.report(0.0, SYMBOL, json.dumps(changed(good, put("last_price", 0))).encode())
    assert "unknown is null" in judge.counts


def test_what_is_no_json_is_broken() -> None:
    judge = Judge(schema_error)
    judge.report(0.0, SYMBOL, b'{"symbol": ')
    assert set(judge.counts) == {"report is JSON"}


@pytest.mark.parametrize(
    ("rule", "path"),
    [
        ("writerToken never falls", "writer.writerToken"),
        ("offset never falls", "provenance.offset"),
        ("updatedAt never falls", "updatedAt"),
        ("gap_count never falls", "provenance.gap_count"),
    ],
)
def test_what_never_falls(rule: str, path: str, good: dict[str, Any]) -> None:
    high, low = changed(good, put(path, 12)), changed(good, put(path, 11))
    assert judged(low, high) == set()
    assert judged(high, low) == {rule}


def test_a_state_that_began_again_counts_its_seconds_anew(good: dict[str, Any]) -> None:
    lost = changed(good, put("provenance.as_of", "2026-11-29T00:00:00Z"), put("ingestion.watched_sec", 100))
    whole = changed(lost, put("provenance.as_of", "2026-11-29T00:00:09.9Z"), put("ingestion.watched_sec", 109))
    late = changed(lost, put("provenance.as_of", "2026-11-28T23:59:58.5Z"), put("ingestion.watched_sec", 98))
    assert judged(lost, whole) == judged(whole, late) == set(), "an event that came late"
    again = changed(whole, put("ingestion.watched_sec", 3))
    assert judged(lost, again) == {"watched since one instant"}


def test_two_writers_with_one_token(good: dict[str, Any]) -> None:
    assert judged(good, changed(good, put("writer.nodeId", "w2"))) == {"one writer a token"}


def test_two_histories_with_one_offset(good: dict[str, Any]) -> None:
    other = changed(good, put("provenance.ts_event", "2026-11-29T00:00:00Z"))
    assert judged(good, other) == {"one offset, one newest event"}


def test_a_token_key_that_falls() -> None:
    judge = Judge(schema_error)
    for value in (b"4", b"5", b"4"):
        judge.token(0.0, SYMBOL, value)
    assert judge.counts == {"token key never falls": 1}


def test_every_breach_is_counted_and_the_first_ones_are_kept() -> None:
    judge = Judge(schema_error)
    for number in range(200):
        judge.token(float(number), SYMBOL, b"%d" % (1000 - number))
    assert judge.counts["token key never falls"] == 199
    assert len(judge.violations) == 50
    assert judge.violations[0].detail == "1000 -> 999"
