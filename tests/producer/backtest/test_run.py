"""From a recording to a file of reports, on a small made tape and on the recorded one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.microstructure import rfc3339
from app.microstructure.engine import EngineParams, SymbolEngine
from app.microstructure.events import decode
from app.microstructure.report import Stamp, encode
from producer.backtest.nautilus import replayed
from producer.backtest.run import MOST_TIMES, backtest
from producer.backtest.source import BacktestError
from producer.backtest.tape import TapeSource
from producer.exchange.messages import BookTicker, DepthUpdate, Trade
from producer.exchange.tape import read_tape
from support.contracts import validate_report

SECOND = 1_000_000_000
MS = 1_000_000

Run = Callable[..., list[bytes]]


def fed_directly(path: Path, every_ns: int) -> list[bytes]:
    """Return the reports of an engine that is given the recording's events in order of event time."""
    received = [decode(value, b"BTCUSDT") for _, value in replayed(TapeSource([path]), lambda _: None)]
    events = sorted(received, key=lambda event: int(event.ts_event))  # stable: equal times as received
    engine = SymbolEngine("BTCUSDT", EngineParams())
    lines: list[bytes] = []
    offset = 0
    first = -(-int(events[0].ts_event) // every_ns) * every_ns
    for as_of in range(first, int(events[-1].ts_event) + 1, every_ns):
        while offset < len(events) and events[offset].ts_event <= as_of:
            engine.apply(events[offset], offset)
            offset += 1
        lines.append(encode(engine.report(as_of, Stamp("backtest", 1, 0, as_of))))
    return lines


def test_two_runs_write_the_same_bytes(small_tape: Path, written: Run) -> None:
    assert written(small_tape) == written(small_tape)


@pytest.mark.parametrize("every_ns", [100 * MS, 250 * MS, SECOND])
def test_reports_equal_those_of_an_engine_that_is_fed_directly(small_tape: Path, written: Run, every_ns: int) -> None:
    lines = written(small_tape, every_ns=every_ns)
    assert len(lines) >= 2
    assert lines == fed_directly(small_tape, every_ns)


def test_a_report_has_every_message_up_to_its_time_and_none_beyond(small_tape: Path, written: Run) -> None:
    messages = [record.payload for record in read_tape([small_tape])]
    trades = [m.trade_time * MS for m in messages if isinstance(m, Trade)]
    diffs = [(m.event_time * MS, m.final_update_id) for m in messages if isinstance(m, DepthUpdate)]
    begin = diffs[0][0]
    # The book is first said to be unknown; the snapshot, received 30 ms later, holds what came up to 11.
    books = [(begin, None), (begin + 30 * MS, 11), *((at, update_id) for at, update_id in diffs if update_id > 11)]
    for line in written(small_tape, every_ns=10 * MS):
        provenance = validate_report(line)["provenance"]
        as_of = rfc3339.parse(provenance["as_of"])
        seen = [update_id for at, update_id in books if at <= as_of]
        assert provenance["offset"] + 1 == sum(at <= as_of for at in trades) + len(seen)
        assert provenance["book_update_id"] == (seen[-1] if seen else None)


def test_the_windows_of_metrics_are_those_that_were_asked_for(small_tape: Path, written: Run) -> None:
    short, long = (
        json.loads(written(small_tape, params=EngineParams(flow_window_sec=seconds))[-1]) for seconds in (1, 30)
    )
    assert (short["flow"]["net_flow"] is None, long["flow"]["net_flow"]) == (False, None)


def test_symbols_are_reported_side_by_side_as_if_each_were_alone(tape: Any, tmp_path: Path, written: Run) -> None:
    for at in range(0, 2_500, 100):
        tape.trade(at, at + 1)
    bitcoin = tape.save("btc.tape")
    for at in range(30, 2_500, 70):
        tape.trade(at, at + 1, symbol="ETHUSDT")
    ether = tape.save("eth.tape")
    together = written(bitcoin, ether, every_ns=SECOND // 2)
    for symbol, path in (("BTCUSDT", bitcoin), ("ETHUSDT", ether)):
        mine = [line for line in together if json.loads(line)["symbol"] == symbol]
        assert mine == written(path, every_ns=SECOND // 2)


def test_what_cannot_be_answered_leaves_no_file(small_tape: Path, tmp_path: Path) -> None:
    out = tmp_path / "reports.jsonl"
    source = TapeSource([small_tape])
    with pytest.raises(BacktestError, match="no report: --every is longer than the recording"):
        backtest(source, 3600 * SECOND, EngineParams(), out, lambda _: None)
    with pytest.raises(BacktestError, match=f"more than {MOST_TIMES:,} such steps"):
        backtest(source, 1, EngineParams(), out, lambda _: None)
    assert list(tmp_path.iterdir()) == [small_tape]


def test_an_event_that_no_worker_would_take_ends_the_run(tape: Any, tmp_path: Path) -> None:
    source = TapeSource([tape.trade(0, 1, price="0.00000000").trade(1_000, 2).save()])
    with pytest.raises(BacktestError, match="an event of BTCUSDT is not usable: invalid: Expected `float` > 0"):
        backtest(source, SECOND, EngineParams(), tmp_path / "reports.jsonl", lambda _: None)


@pytest.mark.tape
def test_the_recorded_market_gives_the_same_reports_through_nautilus_trader_and_directly(
    tape_path: Path, written: Run
) -> None:
    lines = written(tape_path)
    assert len(lines) == 346
    assert lines == fed_directly(tape_path, SECOND)


@pytest.mark.tape
def test_the_recorded_best_prices_are_those_of_the_report_of_the_same_update(tape_path: Path, written: Run) -> None:
    tickers = {
        m.update_id: [[float(m.bid_price), float(m.bid_quantity)], [float(m.ask_price), float(m.ask_quantity)]]
        for m in (record.payload for record in read_tape([tape_path]))
        if isinstance(m, BookTicker)
    }
    compared = 0
    for line in written(tape_path):
        report = validate_report(line)
        recorded = tickers.get(report["provenance"]["book_update_id"])
        if recorded:
            compared += 1
            assert [list(report[side].values()) for side in ("best_bid", "best_ask")] == recorded
    assert compared > 30
