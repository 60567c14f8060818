"""The last report against a replay of the topic: equal where nothing was lost, and where it was, what differs."""

import json
from collections.abc import Sequence
from typing import Any

from app.microstructure.engine import EngineParams, SymbolEngine
from app.microstructure.events import Event
from app.microstructure.report import Stamp, encode
from soak.records import Record
from soak.replay import differences
from support.markets import SECOND
from support.records import event_bytes
from support.streams import market

SYMBOL = "BTCUSDT"
EVENTS = market(SYMBOL, 400)
TOPIC = [Record(0, 10 + 2 * number, SYMBOL.encode(), event_bytes(event)) for number, event in enumerate(EVENTS)]


def last_report(events: Sequence[tuple[int, Event]], slow_at: int = 350) -> dict[str, Any]:
    """The report that a worker writes which has seen these events, with sections of a slow cycle some events ago."""
    engine, slow = SymbolEngine(SYMBOL, EngineParams()), None
    for number, (offset, event) in enumerate(events):
        if number == slow_at:
            slow = engine.slow_sections(engine.ts_event + SECOND // 7)
        engine.apply(event, offset)
    stamp = Stamp(node_id="w1", writer_token=9, partition=0, wall_ns=engine.ts_event + 3 * SECOND)
    report: dict[str, Any] = json.loads(encode(engine.report(engine.ts_event + SECOND // 3, stamp, slow)))
    return report


def seen() -> list[tuple[int, Event]]:
    return [(record.offset, event) for record, event in zip(TOPIC, EVENTS, strict=True)]


def judged(report: dict[str, Any]) -> list[tuple[str, str]]:
    return [(each.rule, each.detail) for each in differences(TOPIC, {SYMBOL: json.dumps(report).encode()})]


def test_a_worker_that_saw_all_wrote_what_a_replay_makes() -> None:
    assert judged(last_report(seen())) == []


def test_an_event_that_was_lost_or_counted_twice_shows() -> None:
    lost, trades = seen(), [number for number, event in enumerate(EVENTS) if event.kind == "trade_tick"]
    del lost[trades[-2]]
    ((rule, detail),) = judged(last_report(lost))
    assert rule == "last report equals a replay"
    assert "flow.net_flow" in detail


def test_a_state_that_began_again_shows() -> None:
    assert [rule for rule, _ in judged(last_report(seen()[200:]))] == ["last report equals a replay"]


def test_a_report_that_stands_before_the_topics_end_shows() -> None:
    assert [rule for rule, _ in judged(last_report(seen()[:-1]))] == ["last report covers the topic"]


def test_events_without_any_report_show() -> None:
    assert [each.rule for each in differences(TOPIC, {})] == ["last report equals a replay"]
