from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.microstructure import rfc3339
from app.microstructure.engine import EngineParams, SymbolEngine
from app.microstructure.events import Event
from app.microstructure.report import Report, Stamp, encode
from producer.backtest.as_of import AsOfReports
from support.contracts import validate_report
from support.markets import SECOND, START, streams, ticker, trade

PARAMS = EngineParams()
MS = 1_000_000


def reports(events: list[Event], every_ns: int) -> list[Report]:
    found: list[Report] = []
    run = AsOfReports(every_ns, PARAMS, found.append)
    for event in events:
        run.apply(int(event.ts_event), event)
    run.finish()
    assert run.events == len(events)
    assert sum(run.counts.values()) == len(found)
    return found


def times(found: list[Report]) -> list[int]:
    return [rfc3339.parse(report.provenance.as_of) for report in found]


def test_reports_come_at_whole_multiples_between_the_first_and_the_last_event() -> None:
    found = reports([trade(1, at=START + 300 * MS), trade(2, at=START + 4_900 * MS)], SECOND)
    assert times(found) == [START + n * SECOND for n in (1, 2, 3, 4)]


def test_an_event_at_the_as_of_time_is_in_the_report_and_the_next_one_is_not() -> None:
    at = START + SECOND
    found = reports([ticker(101.0, at=START), ticker(102.0, at=at), ticker(103.0, at=at + MS)], SECOND)
    assert [report.last_price for report in found] == [101.0, 102.0]
    assert times(found) == [START, at]


def test_time_without_events_has_reports_whose_data_grow_old() -> None:
    found = reports([trade(1, at=START), trade(2, at=START + 12 * SECOND)], 4 * SECOND)
    # 1723161255 s is 3 s after a multiple of 4 s.
    assert [report.data_age_ms for report in found] == [1_000, 5_000, 9_000]
    assert [report.ingestion.status for report in found] == ["ok", "degraded", "degraded"]


def test_a_symbol_has_reports_from_its_own_first_event_on_and_all_end_together() -> None:
    ether = ticker(at=START + 1_500 * MS, symbol="ETHUSDT")
    found = reports([trade(1, at=START), ether, trade(2, at=START + 3 * SECOND)], SECOND)
    seen = [(second, report.symbol) for second, report in zip(times(found), found, strict=True)]
    assert seen == [
        (START, "BTCUSDT"),
        (START + SECOND, "BTCUSDT"),
        *((START + n * SECOND, symbol) for n in (2, 3) for symbol in ("BTCUSDT", "ETHUSDT")),
    ]


def test_what_depends_on_the_writer_is_fixed() -> None:
    (report,) = reports([trade(1, at=START)], SECOND)
    body: dict[str, Any] = validate_report(encode(report))
    assert body["writer"] == {"nodeId": "backtest", "writerToken": 1}
    assert body["generated_at"] == body["provenance"]["as_of"] == "2024-08-08T23:54:15.000Z"
    assert (body["provenance"]["partition"], body["provenance"]["offset"]) == (0, 0)


def test_no_event_means_no_report() -> None:
    assert reports([], SECOND) == []


@given(streams(), st.sampled_from((100 * MS, SECOND, 3 * SECOND)))
def test_each_report_is_that_of_a_fresh_engine_fed_with_the_events_up_to_it(events: list[Event], every_ns: int) -> None:
    for report, as_of in ((report, times([report])[0]) for report in reports(events, every_ns)[-3:]):
        engine = SymbolEngine("BTCUSDT", PARAMS)
        for offset, event in enumerate(event for event in events if event.ts_event <= as_of):
            engine.apply(event, offset)
        assert encode(report) == encode(engine.report(as_of, Stamp("backtest", 1, 0, as_of)))


@given(streams())
def test_the_step_between_reports_does_not_change_a_report(events: list[Event]) -> None:
    fine = {report.provenance.as_of: encode(report) for report in reports(events, SECOND // 2)}
    for report in reports(events, 2 * SECOND):
        assert fine[report.provenance.as_of] == encode(report)
