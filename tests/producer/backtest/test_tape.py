"""A tape becomes what the live client would have sent on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nautilus_trader.model.data import OrderBookDeltas
from nautilus_trader.model.enums import BookAction

from producer.backtest.nautilus import replayed
from producer.backtest.source import BacktestError
from producer.backtest.tape import TapeSource
from producer.exchange.tape import TapeError

BIDS = [("99.00000000", "5.00000000")]
ASKS = [("101.00000000", "2.00000000")]
MS = 1_000_000


def events(*paths: Path) -> list[dict[str, Any]]:
    """Return the events of a tape in order of receipt, numbers as text."""
    source = TapeSource(paths)
    return [json.loads(value, parse_float=str) for _, value in replayed(source, lambda _: None)]


def books(*paths: Path) -> list[tuple[int, int, bool, int]]:
    """Return ids, `snapshot` and number of levels of each book event."""
    payloads = [event["payload"] for event in events(*paths) if event["type"] == "order_book_deltas"]
    return [
        (p["first_update_id"], p["final_update_id"], p["snapshot"], len(p["bids"]) + len(p["asks"])) for p in payloads
    ]


def ms(event: dict[str, Any]) -> int:
    """Return the milliseconds of an event's time within its second."""
    return int(event["ts_event"][20:23])


def test_a_snapshot_is_joined_to_the_diffs_that_were_received_before_it(tape: Any) -> None:
    tape.diff(0, 5, 8, BIDS).diff(100, 9, 12, BIDS).diff(200, 13, 14, BIDS)
    tape.snapshot(250, 10, BIDS, ASKS).diff(300, 15, 15, BIDS)
    assert books(tape.save()) == [
        (0, 0, True, 0),  # not known yet
        (10, 10, True, 2),
        (11, 12, False, 1),
        (13, 14, False, 1),
        (15, 15, False, 1),
    ]


def test_a_snapshot_carries_the_time_of_the_diff_that_continues_it(tape: Any) -> None:
    tape.diff(0, 5, 8, BIDS).diff(100, 9, 12, BIDS).snapshot(250, 10, BIDS, ASKS)
    _, snapshot, diff = events(tape.save())
    assert ms(snapshot) == ms(diff) == 370  # the exchange is 270 ms past a second where the recorder is at 0


def test_a_snapshot_that_no_diff_continues_carries_the_exchanges_time_of_its_receipt(tape: Any) -> None:
    tape.diff(0, 5, 8, BIDS).snapshot(250, 10, BIDS, ASKS).diff(300, 9, 11, BIDS)
    _, snapshot, diff = events(tape.save())
    assert (ms(snapshot), ms(diff)) == (520, 570)


def test_a_snapshot_that_was_recorded_before_the_first_diff_is_used(tape: Any) -> None:
    tape.snapshot(0, 10, BIDS, ASKS).diff(100, 9, 12, BIDS).diff(200, 13, 14, BIDS)
    assert books(tape.save()) == [(0, 0, True, 0), (10, 10, True, 2), (11, 12, False, 1), (13, 14, False, 1)]


def test_an_old_snapshot_before_the_first_diff_is_not_used(tape: Any) -> None:
    tape.snapshot(0, 3, BIDS, ASKS).snapshot(1, 10, BIDS, ASKS).diff(100, 9, 12, BIDS)
    assert books(tape.save()) == [(0, 0, True, 0), (10, 10, True, 2), (11, 12, False, 1)]


def test_a_gap_makes_the_book_unknown_until_the_next_snapshot(tape: Any) -> None:
    tape.snapshot(0, 10, BIDS, ASKS).diff(100, 11, 12, BIDS).diff(200, 20, 21, BIDS).diff(300, 22, 23, BIDS)
    tape.snapshot(350, 22, BIDS, ASKS)
    assert books(tape.save())[2:] == [(11, 12, False, 1), (12, 12, True, 0), (22, 22, True, 2), (23, 23, False, 1)]


def test_a_snapshot_that_nobody_needs_is_left_out(tape: Any) -> None:
    tape.snapshot(0, 10, BIDS, ASKS).diff(100, 11, 12, BIDS).snapshot(150, 12, BIDS, ASKS).diff(200, 13, 13, BIDS)
    assert [book[2] for book in books(tape.save())] == [True, True, False, False]


def test_a_snapshot_without_levels_is_left_out(tape: Any) -> None:
    tape.diff(0, 9, 10, BIDS).snapshot(50, 10, [], []).snapshot(150, 10, BIDS, ASKS)
    assert books(tape.save()) == [(0, 0, True, 0), (10, 10, True, 2)]


def test_a_diff_without_levels_leaves_no_gap(tape: Any) -> None:
    tape.snapshot(0, 10, BIDS, ASKS).diff(100, 11, 12, BIDS).diff(200, 13, 14).diff(300, 15, 15, BIDS)
    assert books(tape.save())[2:] == [(11, 12, False, 1), (13, 15, False, 1)]


def test_a_tape_without_snapshot_has_trades_and_no_book(tape: Any) -> None:
    found = events(tape.diff(0, 9, 10, BIDS).trade(50, 7, "61837.63000000", "0.02000000").save())
    assert [event["type"] for event in found] == ["order_book_deltas", "trade_tick"]
    assert found[1]["payload"] == {
        "price": "61837.63000000", "qty": "0.02000000", "aggressor_side": "buy", "trade_id": 7,
    }  # fmt: skip


def test_a_trade_carries_its_trade_time_and_its_time_of_receipt(tape: Any) -> None:
    (trade,) = events(tape.trade(50, 7, happened=20).save())
    assert ms(trade) == 290
    assert trade["ts_init"].endswith(":20.050Z")


def test_a_ticker_becomes_an_event(tape: Any) -> None:
    (ticker,) = events(tape.ticker(0, "61837.63000000").save())
    assert ticker["type"] == "ticker_24h"
    assert ticker["payload"]["last_price"] == "61837.63000000"


def test_numbers_of_other_decimals_keep_their_value(tape: Any) -> None:
    (trade,) = events(tape.trade(0, 7, "61837.6", "2").save())
    assert (trade["payload"]["price"], trade["payload"]["qty"]) == ("61837.60000000", "2.00000000")


def test_files_of_several_symbols_are_one_recording(tape: Any) -> None:
    bitcoin = tape.snapshot(0, 10, BIDS, ASKS).diff(100, 11, 12, BIDS).save("btc.tape")
    ether = tape.diff(50, 7, 8, ASKS, symbol="ETHUSDT").snapshot(60, 8, BIDS, ASKS).save("eth.tape")
    source = TapeSource([bitcoin, ether])
    assert source.symbols == ["BTCUSDT", "ETHUSDT"]
    seen = [(event["symbol"], event["payload"]["final_update_id"]) for event in events(bitcoin, ether)]
    assert seen == [("ETHUSDT", 0), ("ETHUSDT", 8), ("BTCUSDT", 0), ("BTCUSDT", 10), ("BTCUSDT", 12)]


def test_data_come_in_order_of_receipt_and_diffs_after_the_snapshot_they_were_kept_for(tape: Any) -> None:
    tape.diff(0, 5, 8, BIDS).diff(100, 9, 12, BIDS).trade(120, 1).snapshot(250, 10, BIDS, ASKS).trade(300, 2)
    data = list(TapeSource([tape.save()]).data())
    received = [each.ts_init for each in data]
    assert received == sorted(received)
    snapshot, diff = [each for each in data if isinstance(each, OrderBookDeltas)][1:]
    assert snapshot.deltas[0].action == BookAction.CLEAR
    assert snapshot.ts_init == diff.ts_init


@st.composite
def messages(draw: st.DrawFn) -> list[tuple[str, int, int, int]]:
    """Messages as kind, receive time, event time and update id: late ones, gaps and snapshots among them."""
    at, happened, update_id = 0, {"diff": 0, "trade": 0}, 10
    made = []
    for kind in draw(st.lists(st.sampled_from(("diff", "diff", "trade", "snapshot", "gap")), min_size=1, max_size=25)):
        at += draw(st.integers(0, 120))
        stream = "trade" if kind == "trade" else "diff"
        happened[stream] = max(happened[stream], at - draw(st.integers(0, 200)))
        update_id += {"diff": 1, "gap": 5}.get(kind, 0)
        made.append((kind, at, happened[stream], update_id))
    return made


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(messages())
def test_the_extent_allows_for_everything_that_is_sent_on(tape: Any, received: list[tuple[str, int, int, int]]) -> None:
    for number, (kind, at, happened, update_id) in enumerate([*received, ("trade", 9_999, 9_999, 0)]):
        if kind == "snapshot":
            tape.snapshot(at, update_id, BIDS, ASKS)
        elif kind == "trade":
            tape.trade(at, number, happened=happened)
        else:
            tape.diff(at, update_id, update_id, BIDS, happened=happened)
    source = TapeSource([tape.save()])
    extent = source.extent
    newest = 0
    for each in source.data():
        at = (each.ts_event + MS // 2) // MS * MS  # as in the event
        assert newest - at <= extent.lateness_ns
        assert extent.first_ns <= at <= extent.last_ns
        newest = max(newest, at)
    assert extent.messages == sum(kind != "snapshot" for kind, *_ in received) + 1


def test_a_file_with_a_snapshot_must_hold_one_symbol(tape: Any) -> None:
    tape.diff(0, 1, 2, symbol="BTCUSDT").trade(1, 1, symbol="ETHUSDT").snapshot(2, 2, BIDS, ASKS)
    with pytest.raises(TapeError, match=r"made\.tape:3: a depth snapshot .* exactly one, not BTCUSDT, ETHUSDT"):
        TapeSource([tape.save()])


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda tape: tape.line(1, "{"), r"made\.tape:2: "),
        (lambda tape: tape.trade(1, 2, symbol="btc/usdt"), r"made\.tape:2: symbol 'btc/usdt' is not allowed: 2 to 20"),
    ],
)
def test_a_damaged_line_is_found_before_anything_is_replayed(
    tape: Any, spoil: Callable[[Any], Any], problem: str
) -> None:
    spoil(tape.trade(0, 1))
    with pytest.raises(TapeError, match=problem):
        TapeSource([tape.save()])


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda tape: tape.trade(1, 2, "dear"), "'dear' is not a decimal number"),
        (lambda tape: tape.trade(1, 2, "-1.0"), "'-1.0' is not a non-negative number"),
        (lambda tape: tape.trade(1, 2, quantity="0.00000000"), "0"),
        (lambda tape: tape.trade(1, 2, "99999999999999999999.00000000"), ""),
        (lambda tape: tape.diff(1, 2, 2, [("1.00000000", "xxxxxxx.00000000")]), ""),
    ],
)
def test_a_number_that_cannot_be_used_is_named_by_its_line(
    tape: Any, spoil: Callable[[Any], Any], problem: str
) -> None:
    spoil(tape.trade(0, 1))
    source = TapeSource([tape.save()])
    with pytest.raises(TapeError, match=rf"made\.tape:2: .*{problem}"):
        list(source.data())


def test_a_tape_without_anything_to_replay_is_refused(tape: Any) -> None:
    with pytest.raises(BacktestError, match=r"no trades, diffs or tickers in .*made\.tape"):
        TapeSource([tape.book_ticker(0).save()])
