"""The topic's rules, each broken by a topic that a broken producer could have left."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from soak import topics
from soak.judge import unix
from soak.records import Record, TopicJudge, dead_letters
from soak.timeline import Instant, Window

SYMBOL, BEGIN = "BTCUSDT", 1_796_000_000.0


def event(kind: str, at: float, **payload: Any) -> Record:
    moment = datetime.fromtimestamp(BEGIN + at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
    body = {"symbol": SYMBOL, "venue": "BINANCE", "type": kind, "ts_event": f"{moment}000Z", "payload": payload}
    return Record(0, 0, SYMBOL.encode(), json.dumps(body).encode())


def trades(*ids: int, at: float = 0.0) -> list[Record]:
    return [event("trade_tick", at + number, trade_id=number) for number in ids]


def deltas(first: int, final: int, at: float = 0.0, *, snapshot: bool = False) -> Record:
    return event("order_book_deltas", at, first_update_id=first, final_update_id=final, snapshot=snapshot)


def away(began: float, ended: float, kind: str = "producer kill") -> Window:
    return Window(kind, "producer", Instant(0, BEGIN + began), Instant(0, BEGIN + ended))


def judged(records: Sequence[Record], *windows: Window) -> tuple[list[str], TopicJudge]:
    judge = TopicJudge(windows)
    judge.read(records)
    return [each.rule for each in judge.violations], judge


def test_ids_in_a_row_and_books_in_sequence_break_no_rule() -> None:
    records = [*trades(5, 6, 7), deltas(1, 1, snapshot=True), deltas(2, 4), deltas(5, 5)]
    assert judged(records)[0] == []


def test_a_missing_trade_is_a_breach_unless_the_source_was_away() -> None:
    rules, judge = judged(trades(5, 6, 9))
    assert (rules, judge.missing) == (["no trade is missing"], 2)
    assert judged(trades(5, 6, 9), away(7, 8))[0] == []
    assert judged(trades(5, 6, 9), away(100, 101))[0] == ["no trade is missing"]
    assert judged(trades(5, 6, 9), away(7, 8, "broker kill"))[0] == ["no trade is missing"], "Kafka waits in the queue"


def test_the_same_trade_again_is_counted_and_another_of_that_id_is_a_breach() -> None:
    rules, judge = judged([*trades(5, 6, 7), *trades(6, 7), *trades(8)])
    assert (rules, judge.twice) == ([], 2)
    assert judged([*trades(5, 6, 7), *trades(6, at=60.0)])[0] == ["trade ids rise"]


def test_an_exchange_that_began_again_counts_anew() -> None:
    assert judged([*trades(5, 6, 7), *trades(1, 2, at=60.0)], away(10, 50, "exchange kill"))[0] == []


def test_a_book_that_breaks_is_a_breach_unless_the_source_was_away() -> None:
    for after in (deltas(4, 4), deltas(9, 9, snapshot=True)):
        records = [deltas(1, 1, snapshot=True), deltas(2, 2), after]
        assert judged(records)[0] == ["books go on without a break"]
        assert judged(records, away(0, 1))[0] == []


def test_a_book_that_was_said_to_be_not_known_may_begin_again() -> None:
    assert judged([deltas(0, 0, snapshot=True), deltas(7, 7, snapshot=True), deltas(8, 8)])[0] == []


def test_deltas_sent_again_are_no_break() -> None:
    records = [deltas(1, 1, snapshot=True), deltas(2, 2), deltas(3, 3), deltas(2, 2), deltas(3, 3), deltas(4, 4)]
    assert judged(records)[0] == []


def test_what_is_no_event_is_a_breach() -> None:
    assert judged([Record(0, 1, b"BTCUSDT", b"{}"), Record(0, 2, None, None)])[0] == ["events are events"] * 2


def test_the_topic_has_the_newest_trade_that_the_exchange_sent() -> None:
    for claimed, broken in ((7, []), (8, ["no trade is missing"])):
        _, judge = judged(trades(5, 6, 7))
        judge.heard({SYMBOL: (claimed, BEGIN + 8)})
        assert [each.rule for each in judge.violations] == broken
    _, judge = judged([])
    judge.heard({SYMBOL: (1, BEGIN)})
    assert len(judge.violations) == 1, "a symbol of which nothing came"


def test_every_dead_letter_is_a_breach() -> None:
    assert [each.rule for each in dead_letters([Record(0, 3, b"k", b"v")])] == ["no dead letters"]


def test_event_times_are_read_to_the_nanosecond_or_less() -> None:
    assert unix("1970-01-01T00:01:00.5Z") == 60.5
    assert unix("1970-01-01T00:01:00Z") == 60.0


def test_a_dump_is_read_back_as_it_was(tmp_path: Path) -> None:
    records = [Record(3, 4, b"key", b"\x00\xff"), Record(3, 5, None, None)]
    file = tmp_path / "topic.jsonl.gz"
    topics.write(file, records)
    assert list(topics.load(file)) == records
