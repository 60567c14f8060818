from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.microstructure.engine import EngineParams, StateError, SymbolEngine
from app.microstructure.events import Event
from app.microstructure.report import Report, Stamp, encode
from support.contracts import validate_report
from support.markets import SECOND, START, deltas, numbered, snapshot, streams, ticker, trade

PARAMS = EngineParams()
STAMP = Stamp("node-1", 7, 3, START + 2 * SECOND)


def engine_after(events: Sequence[Event]) -> SymbolEngine:
    engine = SymbolEngine("BTCUSDT", PARAMS)
    for offset, event in numbered(events):
        engine.apply(event, offset)
    return engine


def body(engine: SymbolEngine, as_of: int | None = None) -> bytes:
    return encode(engine.report(engine.ts_event if as_of is None else as_of, STAMP))


def test_a_report_says_who_wrote_it_and_what_it_stands_for() -> None:
    engine = engine_after([snapshot(10, [(99.0, 1.0)], [(101.0, 1.0)]), trade(1, at=START + SECOND)])
    report = validate_report(body(engine))
    assert report["writer"] == {"nodeId": "node-1", "writerToken": 7}
    assert report["provenance"] == {
        "partition": 3,
        "offset": 1,
        "book_update_id": 10,
        "ts_event": "2024-08-08T23:54:16.000Z",
        "as_of": "2024-08-08T23:54:16.000Z",
        "slow": {"offset": 1, "as_of": "2024-08-08T23:54:16.000Z"},
        "gap_count": 0,
        "book_ok": True,
        "incomplete": None,
    }
    assert report["generated_at"] == "2024-08-08T23:54:17.000Z"
    assert report["updatedAt"] == (START + 2 * SECOND) // 1_000_000
    assert report["data_age_ms"] == 1000


def test_what_is_not_known_is_null_and_never_zero() -> None:
    report = validate_report(body(engine_after([trade(1)])))
    unknown = ("best_bid", "best_ask", "spread_bps", "mid_price", "micro_price", "last_price", "volume_24h")
    assert [report[name] for name in unknown] == [None] * len(unknown)
    assert report["flow"] == {"orders_per_sec": None, "net_flow": None}
    assert report["depth"]["imbalance"] is None
    assert report["provenance"]["book_update_id"] is None
    assert report["provenance"]["book_ok"] is False


def test_after_a_gap_prices_are_null_until_the_resync() -> None:
    events = [snapshot(10, [(99.0, 1.0)], [(101.0, 1.0)]), deltas(15, 16, [(99.5, 1.0)])]
    report = validate_report(body(engine_after(events)))
    assert report["best_bid"] is None
    assert (report["provenance"]["gap_count"], report["provenance"]["book_ok"]) == (1, False)
    resynced = validate_report(body(engine_after([*events, snapshot(20, [(98.0, 1.0)], [(101.0, 1.0)])])))
    assert resynced["best_bid"] == {"price": 98.0, "qty": 1.0}
    assert (resynced["provenance"]["gap_count"], resynced["provenance"]["book_ok"]) == (1, True)


def test_the_24_h_section_is_the_newest_tickers() -> None:
    events = [ticker(100.0, at=START + SECOND), ticker(90.0, at=START)]
    report = validate_report(body(engine_after(events)))
    assert (report["last_price"], report["high_24h"], report["change_24h_pct"]) == (100.0, 105.0, -1.5)


def test_a_wall_clock_behind_the_venues_gives_age_zero_not_a_negative_one() -> None:
    engine = engine_after([trade(1, at=START + 3600 * SECOND)])
    assert validate_report(body(engine))["data_age_ms"] == 0


@pytest.mark.parametrize(("age_ms", "status"), [(0, "ok"), (1500, "degraded"), (11_000, "down")])
def test_ingestion_ages_with_the_as_of_time_and_reports_keep_coming(age_ms: int, status: str) -> None:
    engine = engine_after([trade(1)])
    report = validate_report(body(engine, engine.ts_event + age_ms * 1_000_000))
    assert (report["ingestion"]["status"], report["ingestion"]["last_event_age_ms"]) == (status, age_ms)


def test_an_event_at_or_below_the_offset_is_skipped() -> None:
    engine = engine_after([trade(1), trade(2)])
    before = engine.snapshot()
    assert engine.apply(trade(3), 1) is False
    assert engine.apply(trade(3), 0) is False
    assert engine.snapshot() == before
    assert engine.apply(trade(3), 2) is True


def test_a_trade_that_was_sent_twice_counts_once() -> None:
    once, twice = engine_after([trade(7)]), engine_after([trade(7), trade(7), trade(6)])
    later = START + 60 * SECOND
    assert once.report(later, STAMP).flow == twice.report(later, STAMP).flow


def test_one_wrong_trade_id_does_not_silence_all_later_trades() -> None:
    wrong = [trade(1), trade(2**63 - 1, at=START + SECOND), trade(3, at=START + 55 * SECOND)]
    flow = engine_after(wrong).report(START + 60 * SECOND, STAMP).flow
    assert (flow.net_flow, flow.orders_per_sec) == (1.0, 0.1)


def test_a_token_of_tiny_price_may_trade_in_any_quantity_of_the_contract() -> None:
    engine = engine_after([trade(number, 1e-8, 9e14, "sell") for number in range(5)])
    assert body(SymbolEngine.restore(engine.snapshot(), PARAMS)) == body(engine)


def test_damaged_or_foreign_snapshots_are_refused_with_a_reason() -> None:
    good = engine_after([trade(1)]).snapshot()
    with pytest.raises(StateError, match="cannot be read"):
        SymbolEngine.restore(good[:-3], PARAMS)
    with pytest.raises(StateError, match="cannot be read"):
        SymbolEngine.restore(good.replace(b"BTCUSDT", b"BTC\xff\xfeDT"), PARAMS)
    with pytest.raises(StateError, match="cannot be read"):
        SymbolEngine.restore(b"\x91" * 5000, PARAMS)
    with pytest.raises(StateError, match="version 99"):
        SymbolEngine.restore(msgspec.msgpack.encode([99, *msgspec.msgpack.decode(good)[1:]]), PARAMS)


@given(streams(), st.data())
def test_duplicates_and_restores_at_any_point_give_the_same_report_byte_for_byte(
    events: list[Event], data: st.DataObject
) -> None:
    undisturbed = engine_after(events)
    disturbed = SymbolEngine("BTCUSDT", PARAMS)
    for offset, event in numbered(events):
        disturbed.apply(event, offset)
        if data.draw(st.booleans()):
            replayed_from = data.draw(st.integers(0, offset))
            disturbed = SymbolEngine.restore(disturbed.snapshot(), PARAMS)
            for old_offset, old in numbered(events)[replayed_from : offset + 1]:
                disturbed.apply(old, old_offset)
    assert disturbed.snapshot() == undisturbed.snapshot()
    later = undisturbed.ts_event + data.draw(st.integers(0, 60)) * SECOND
    assert body(disturbed, later) == body(undisturbed, later)


@given(streams())
def test_asking_for_reports_changes_nothing(events: list[Event]) -> None:
    asked, quiet = SymbolEngine("BTCUSDT", PARAMS), SymbolEngine("BTCUSDT", PARAMS)
    for offset, event in numbered(events):
        asked.apply(event, offset)
        quiet.apply(event, offset)
        validate_report(body(asked))
    assert asked.snapshot() == quiet.snapshot()


def test_the_report_type_and_its_schema_name_the_same_fields() -> None:
    report = validate_report(body(engine_after([trade(1)])))
    assert list(report) == [field.encode_name for field in msgspec.structs.fields(Report)]
