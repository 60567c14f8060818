import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.exchange.messages import BookTicker, DepthSnapshot, DepthUpdate, Ticker24h, Trade
from producer.exchange.survey import survey
from producer.exchange.tape import TapeError, parse_line, read_tape
from producer.exchange.units import to_units

TRADE = (
    '{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":7,'
    '"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}}'
)
DIFF = (
    '{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1723161255208,"s":"BTCUSDT",'
    '"U":11,"u":14,"b":[["61737.60000000","0.01500000"]],"a":[]}}'
)
BOOK_TICKER = (
    '{"stream":"btcusdt@bookTicker","data":{"u":12,"s":"BTCUSDT",'
    '"b":"1.00000000","B":"2.00000000","a":"3.00000000","A":"4.00000000"}}'
)
SNAPSHOT = '{"lastUpdateId":12,"bids":[["61837.63000000","3.78800000"]],"asks":[["61837.64000000","1.54600000"]]}'
OTHER = '{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","s":"BTCUSDT"}}'


def write(path: Path, *bodies: str, times: list[int] | None = None) -> Path:
    stamps = times or list(range(1_000, 1_000 + len(bodies)))
    path.write_text("".join(f"{stamp} {body}\n" for stamp, body in zip(stamps, bodies, strict=True)))
    return path


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (TRADE, Trade),
        (DIFF, DepthUpdate),
        (BOOK_TICKER, BookTicker),
        (SNAPSHOT, DepthSnapshot),
        (OTHER, type(None)),
    ],
)
def test_each_kind_of_line_is_told_apart(body: str, kind: type) -> None:
    receive_ns, payload = parse_line(b"1723161253937085768 " + body.encode())
    assert receive_ns == 1_723_161_253_937_085_768
    assert isinstance(payload, kind)


def test_fields_are_read_under_binances_names() -> None:
    _, trade = parse_line(b"1 " + TRADE.encode())
    assert trade == Trade(
        event_time=1723161255343,
        symbol="BTCUSDT",
        trade_id=7,
        price="61837.63000000",
        quantity="0.02000000",
        trade_time=1723161255342,
        buyer_is_maker=True,
    )


@given(st.binary())
def test_any_bytes_are_either_a_line_or_refused(line: bytes) -> None:
    try:
        receive_ns, _ = parse_line(line)
    except ValueError:
        return
    assert receive_ns >= 0


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("{", "truncated"),
        (DIFF.replace('"U":11', '"U":15'), "update ids run from 15 back to 14"),
        (DIFF.replace('"U":11,', ""), "missing required field `U`"),
        (TRADE.replace('"61837.63000000"', "61837.63"), "Expected `str`"),
        (TRADE.replace("61837.63000000", "many"), "'many' is not a decimal number"),
        (TRADE.replace("BTCUSDT", "BTCXYZ"), "'BTCXYZ' does not end in a known quote asset"),
        ('{"stream":"btcusdt@trade"}', "without data"),
    ],
)
def test_a_damaged_line_is_named_by_file_and_line(tmp_path: Path, body: str, problem: str) -> None:
    path = write(tmp_path / "bad.tape", DIFF, SNAPSHOT, body)
    with pytest.raises(TapeError) as caught:
        survey(read_tape([path]))
    assert str(caught.value).startswith(f"{path}:3: ")
    assert problem in str(caught.value)


def test_a_line_without_a_time_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.tape"
    path.write_text(TRADE + "\n")
    with pytest.raises(TapeError, match=r"bad\.tape:1: a line must be RECEIVE_TIME_NS"):
        list(read_tape([path]))


def test_a_file_that_is_cut_off_empty_or_missing_is_named(tmp_path: Path) -> None:
    packed = gzip.compress(f"1 {TRADE}\n".encode() * 1000)
    cut, damaged, empty = tmp_path / "cut.gz", tmp_path / "damaged.gz", tmp_path / "empty"
    cut.write_bytes(packed[: len(packed) // 2])
    damaged.write_bytes(packed[:20] + b"\xff" * 20 + packed[40:])
    empty.write_bytes(b"")
    for path, problem in (
        (cut, "cut off"),
        (damaged, "damaged"),
        (empty, "empty"),
        (tmp_path / "no", "No such file"),
    ):
        with pytest.raises(TapeError, match=problem) as caught:
            list(read_tape([path]))
        assert str(path) in str(caught.value)


def test_files_are_merged_by_receive_time_and_keep_their_own_order(tmp_path: Path) -> None:
    one = write(tmp_path / "one", TRADE, TRADE, TRADE, times=[10, 30, 20])
    two = tmp_path / "two.gz"
    two.write_bytes(gzip.compress(f"15 {BOOK_TICKER}\n25 {BOOK_TICKER}\n".encode()))
    records = [(record.path.name, record.line, record.receive_ns) for record in read_tape([one, two])]
    # The third line of the first file was received before its second, says its clock; it keeps its place.
    assert records == [("one", 1, 10), ("two.gz", 1, 15), ("two.gz", 2, 25), ("one", 2, 30), ("one", 3, 30)]


def test_a_survey_tells_ids_clock_grid_and_opening(tmp_path: Path) -> None:
    path = write(
        tmp_path / "tape",
        DIFF,
        OTHER,
        TRADE,
        BOOK_TICKER,
        SNAPSHOT,
        times=[1_723_161_254_000_000_000 + n for n in range(5)],
    )
    held = survey(read_tape([path]))
    symbol = held.symbols["BTCUSDT"]
    assert (held.start_ns, held.lines) == (1_723_161_254_000_000_000, 5)
    assert (symbol.info.base, symbol.info.quote) == ("BTC", "USDT")
    assert (symbol.info.tick, symbol.info.step) == (to_units("0.01"), to_units("0.001"))
    assert (symbol.last_update_id, symbol.first_trade_id, symbol.last_trade_id) == (14, 7, 7)
    assert symbol.has_book_ticker
    assert not symbol.has_ticker
    assert symbol.clock_lead_ns == 1_343_000_000 - 2
    assert {first: depth.last_update_id for first, depth in symbol.openings.items()} == {11: 12}


def test_the_fastest_message_tells_how_far_the_clocks_are_apart(tmp_path: Path) -> None:
    later = DIFF.replace("1723161255208", "1723161255443").replace('"U":11,"u":14', '"U":15,"u":16')
    behind_ns = 1_270_000_000
    times = [
        1_723_161_255_208_000_000 - behind_ns + 5_000_000,
        1_723_161_255_343_000_000 - behind_ns + 1_000_000,
        1_723_161_255_443_000_000 - behind_ns + 9_000_000,
        1_723_161_255_500_000_000 - behind_ns,
    ]
    held = survey(read_tape([write(tmp_path / "tape", DIFF, TRADE, later, SNAPSHOT, times=times)]))
    assert held.symbols["BTCUSDT"].clock_lead_ns == behind_ns - 1_000_000


def test_a_gap_in_the_diffs_needs_a_snapshot_behind_it(tmp_path: Path) -> None:
    later = DIFF.replace('"U":11,"u":14', '"U":31,"u":34')
    without = write(tmp_path / "without", DIFF, SNAPSHOT, later)
    with pytest.raises(TapeError, match=r"without:3: the diff from update id 31 on continues no depth snapshot"):
        survey(read_tape([without]))
    behind = SNAPSHOT.replace('"lastUpdateId":12', '"lastUpdateId":30')
    held = survey(read_tape([write(tmp_path / "with", DIFF, SNAPSHOT, later, behind)]))
    openings = held.symbols["BTCUSDT"].openings
    assert {first: depth.last_update_id for first, depth in openings.items()} == {11: 12, 31: 30}


def test_a_snapshot_in_a_file_of_two_symbols_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "two", DIFF, DIFF.replace("BTCUSDT", "ETHUSDT"), SNAPSHOT)
    with pytest.raises(TapeError, match=r"two:3: a depth snapshot does not say its symbol.*BTCUSDT, ETHUSDT"):
        survey(read_tape([path]))


def test_a_symbol_without_diffs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TapeError, match=r"messages of BTCUSDT but no diffs \(btcusdt@depth@100ms\)"):
        survey(read_tape([write(tmp_path / "tape", TRADE)]))


def test_a_recorded_ticker_is_noticed(tmp_path: Path) -> None:
    numbers = dict.fromkeys("pPwxcQbBaAohlvq", "1.0")
    times = dict.fromkeys("EOCFLn", 1)
    data = {"e": "24hrTicker", "s": "BTCUSDT", **numbers, **times}
    body = json.dumps({"stream": "btcusdt@ticker", "data": data})
    _, payload = parse_line(b"1 " + body.encode())
    assert isinstance(payload, Ticker24h)
    held = survey(read_tape([write(tmp_path / "tape", DIFF, SNAPSHOT, body)]))
    assert held.symbols["BTCUSDT"].has_ticker
