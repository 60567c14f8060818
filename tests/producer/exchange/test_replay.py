from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from producer.exchange.book import Book, Side
from producer.exchange.market import Market
from producer.exchange.messages import BookTicker, DepthSnapshot, DepthUpdate, Message, Ticker24h, Trade
from producer.exchange.replay import LOOP_PAUSE_NS
from producer.exchange.replay_symbol import Timeline
from producer.exchange.tape import levels_of, parse_line
from producer.exchange.units import to_units

NS = 1_000_000_000
MS = 1_000_000
NOW_NS = 1_800_000_000 * NS
DIFFS = "btcusdt@depth@100ms"

OpenTape = Callable[..., Market]


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines()


def play(market: Market, until_ns: int, wanted: Any, *, from_ns: int = NOW_NS) -> Iterator[tuple[int, Message]]:
    for now_ns in range(from_ns, until_ns + 1, 10 * MS):
        for message in market.advance(now_ns, wanted):
            yield now_ns, message


def updates(messages: Iterator[tuple[int, Message]]) -> list[DepthUpdate]:
    return [msgspec.json.decode(it.payload, type=DepthUpdate) for _, it in messages if it.stream == DIFFS]


def test_the_tape_waits_until_nobody_has_subscribed_for_the_start_delay(
    made_tape: Path, open_tape: OpenTape, everything: Any
) -> None:
    market = open_tape(made_tape, start_delay_ns=NS)
    assert list(market.advance(NOW_NS + 3600 * NS, everything)) == []
    market.subscribed(NOW_NS)
    market.subscribed(NOW_NS + NS // 2)
    assert list(market.advance(NOW_NS + NS * 3 // 2 - 1, everything)) == []
    assert list(market.advance(NOW_NS + NS * 3 // 2, everything)) != []


def test_once_it_runs_a_later_subscription_changes_nothing(
    made_tape: Path, open_tape: OpenTape, everything: Any
) -> None:
    market, undisturbed = open_tape(made_tape), open_tape(made_tape)
    for it in (market, undisturbed):
        it.subscribed(NOW_NS)
    first = list(market.advance(NOW_NS + NS, everything))
    market.subscribed(NOW_NS + NS)
    first += market.advance(NOW_NS + 2 * NS, everything)
    assert first == list(undisturbed.advance(NOW_NS + 2 * NS, everything))


@pytest.mark.parametrize("speed", [0.5, 1.0, 4.0])
def test_messages_are_due_at_their_receive_time_at_any_speed(
    made_tape: Path, open_tape: OpenTape, speed: float
) -> None:
    market = open_tape(made_tape, speed=speed)
    market.subscribed(NOW_NS)
    recorded = [parse_line(line) for line in lines_of(made_tape)]
    start_ns = recorded[0][0]
    due = [start for start, payload in recorded if isinstance(payload, DepthUpdate)]
    played = [now for now, it in play(market, NOW_NS + 8 * NS, {DIFFS})]
    assert len(played) == len(due)
    for receive_ns, now_ns in zip(due, played, strict=True):
        # Time moves in steps of 10 ms here.
        assert 0 <= now_ns - NOW_NS - (receive_ns - start_ns) / speed < 10 * MS


def test_recorded_streams_are_sent_as_they_are(made_tape: Path, open_tape: OpenTape) -> None:
    market = open_tape(made_tape, keep_times=True)
    market.subscribed(NOW_NS)
    wanted = {"btcusdt@trade", DIFFS, "btcusdt@bookTicker"}
    played = [message.combined() for _, message in play(market, NOW_NS + 4 * NS, wanted)]
    recorded = [line.partition(b" ")[2] for line in lines_of(made_tape)]
    assert played == [body for body in recorded if body.startswith(b'{"stream"')]


@pytest.mark.parametrize("speed", [1.0, 4.0])
def test_event_times_are_moved_to_now_along_the_line_of_receive_times(
    made_tape: Path, open_tape: OpenTape, speed: float
) -> None:
    market = open_tape(made_tape, speed=speed)
    market.subscribed(NOW_NS)
    played = updates(play(market, NOW_NS + 4 * NS, {DIFFS}))
    recorded = [parse_line(line) for line in lines_of(made_tape)]
    originals = [(at, payload) for at, payload in recorded if isinstance(payload, DepthUpdate)]
    for moved, (receive_ns, original) in zip(played, originals, strict=True):
        # All messages of this recording took the same time, so each is as old as the fastest: 0 ms.
        elapsed_ms = (receive_ns - recorded[0][0]) / speed / MS
        assert moved.event_time == pytest.approx(NOW_NS // MS + elapsed_ms, abs=1.1)
        assert (moved.bids, moved.asks) == (original.bids, original.asks)


def test_before_the_tape_starts_the_book_is_the_recorded_snapshot(made_tape: Path, open_tape: OpenTape) -> None:
    (snapshot,) = [it for _, it in map(parse_line, lines_of(made_tape)) if isinstance(it, DepthSnapshot)]
    depth = open_tape(made_tape).depth("BTCUSDT", 1000)
    assert DepthSnapshot.of(depth) == snapshot


def test_the_tapes_end_ends_the_streams_but_not_the_book(made_tape: Path, open_tape: OpenTape, everything: Any) -> None:
    market = open_tape(made_tape)
    market.subscribed(NOW_NS)
    assert list(market.advance(NOW_NS + 60 * NS, everything))
    assert list(market.advance(NOW_NS + 120 * NS, everything)) == []
    assert market.depth("BTCUSDT", 5).bids


def test_a_loop_starts_over_with_one_diff_that_turns_the_end_into_the_beginning(
    made_tape: Path, open_tape: OpenTape
) -> None:
    market = open_tape(made_tape, loop=True)
    opening = market.depth("BTCUSDT", 5000)
    recorded = [payload for _, payload in map(parse_line, lines_of(made_tape)) if isinstance(payload, DepthUpdate)]
    market.subscribed(NOW_NS)
    played = updates(play(market, NOW_NS + 7 * NS, {DIFFS}))
    jump = played[len(recorded)]
    assert jump.first_update_id == recorded[-1].final_update_id + 1
    book = Book.from_depth(opening)
    for update in played[: len(recorded) + 1]:
        for side, levels in ((Side.BID, update.bids), (Side.ASK, update.asks)):
            for price, quantity in levels_of(levels):
                if update.final_update_id > opening.last_update_id:
                    book.put(side, price, quantity)
    assert (list(book.bids), list(book.asks)) == (opening.bids, opening.asks)
    # Behind it the tape goes on after its snapshot, with the same levels.
    after = [it for it in recorded if it.final_update_id > opening.last_update_id]
    assert [(it.bids, it.asks) for it in played[len(recorded) + 1 :]][: len(after)] == [
        (it.bids, it.asks) for it in after
    ]


def test_passes_of_a_loop_follow_each_other_after_one_beat(made_tape: Path, open_tape: OpenTape) -> None:
    market = open_tape(made_tape, loop=True)
    recorded = [parse_line(line) for line in lines_of(made_tape)]
    length_ns = recorded[-1][0] - recorded[0][0] + LOOP_PAUSE_NS
    market.subscribed(NOW_NS)
    trades = [now for now, _ in play(market, NOW_NS + 3 * length_ns, {"btcusdt@trade"})]
    of_one_pass = sum(isinstance(payload, Trade) for _, payload in recorded)
    passes = [trades[start] for start in range(0, 3 * of_one_pass, of_one_pass)]
    for earlier, later in pairwise(passes):
        assert later - earlier == pytest.approx(length_ns, abs=10 * MS)


def with_gap(path: Path, out: Path, *, lost: int) -> Path:
    """Copy a tape with `lost` diffs missing in its middle, and a snapshot that contains them at its end."""
    lines = lines_of(path)
    kinds = [parse_line(line)[1] for line in lines]
    diffs = [index for index, payload in enumerate(kinds) if isinstance(payload, DepthUpdate)]
    gap = diffs[len(diffs) // 2 : len(diffs) // 2 + lost]
    (snapshot,) = [it for it in kinds if isinstance(it, DepthSnapshot)]
    book = Book(snapshot.last_update_id)
    for side, levels in ((Side.BID, snapshot.bids), (Side.ASK, snapshot.asks)):
        for price, quantity in levels_of(levels):
            book.put(side, price, quantity)
    for payload in kinds[: gap[-1] + 1]:
        if isinstance(payload, DepthUpdate) and payload.final_update_id > book.last_update_id:
            for side, levels in ((Side.BID, payload.bids), (Side.ASK, payload.asks)):
                for price, quantity in levels_of(levels):
                    book.put(side, price, quantity)
            book.last_update_id = payload.final_update_id
    resync = msgspec.json.encode(DepthSnapshot.of(book.depth(1000)))
    stamp = lines[gap[-1]].partition(b" ")[0]
    kept = [line for index, line in enumerate(lines) if index not in gap]
    kept.append(stamp + b" " + resync)
    out.write_bytes(b"\n".join(kept) + b"\n")
    return out


def test_a_gap_in_the_recording_is_a_gap_in_the_stream_and_the_book_goes_on_from_the_next_snapshot(
    made_tape: Path, open_tape: OpenTape, tmp_path: Path
) -> None:
    whole, broken = open_tape(made_tape), open_tape(with_gap(made_tape, tmp_path / "gap.tape", lost=3))
    for market in (whole, broken):
        market.subscribed(NOW_NS)
    books = {}
    for _, message in play(whole, NOW_NS + 4 * NS, {DIFFS}):
        update = msgspec.json.decode(message.payload, type=DepthUpdate)
        books[update.final_update_id] = whole.depth("BTCUSDT", 1000)
    gaps = compared = 0
    following: int | None = None
    for _, message in play(broken, NOW_NS + 4 * NS, {DIFFS}):
        update = msgspec.json.decode(message.payload, type=DepthUpdate)
        gaps += following is not None and update.first_update_id != following
        following = update.final_update_id + 1
        depth = broken.depth("BTCUSDT", 1000)
        if depth.last_update_id == update.final_update_id:
            assert depth == books[update.final_update_id]
            compared += 1
    assert gaps == 1
    assert compared >= 15


def test_a_tape_without_book_tickers_gets_them_from_its_book(
    made_tape: Path, open_tape: OpenTape, tmp_path: Path
) -> None:
    path = tmp_path / "bare.tape"
    path.write_bytes(b"".join(line + b"\n" for line in lines_of(made_tape) if b"@bookTicker" not in line))
    market = open_tape(path)
    market.subscribed(NOW_NS)
    sent = 0
    for _, message in play(market, NOW_NS + 4 * NS, {"btcusdt@bookTicker"}):
        ticker = msgspec.json.decode(message.payload, type=BookTicker)
        bid, ask = Book.from_depth(market.depth("BTCUSDT", 1)).best()
        assert bid == (to_units(ticker.bid_price), to_units(ticker.bid_quantity))
        assert ask == (to_units(ticker.ask_price), to_units(ticker.ask_quantity))
        assert ticker.update_id == market.depth("BTCUSDT", 1).last_update_id
        sent += 1
    assert sent > 10


def test_a_recorded_24h_ticker_is_sent_in_place_of_a_derived_one(
    made_tape: Path, open_tape: OpenTape, tmp_path: Path
) -> None:
    lines = lines_of(made_tape)
    stamp = lines[-1].partition(b" ")[0]
    texts = dict.fromkeys("pPwxcQbBaAohlvq", "1.00000000")
    event_ms = int(stamp) // MS + 1500
    times = {"E": event_ms, "O": event_ms - 86_400_000, "C": event_ms}
    data = {"e": "24hrTicker", "s": "BTCUSDT", **texts, **times, "F": 1, "L": 2, "n": 2}
    body = msgspec.json.encode({"stream": "btcusdt@ticker", "data": data})
    path = tmp_path / "ticker.tape"
    path.write_bytes(b"\n".join([*lines, stamp + b" " + body]) + b"\n")
    market = open_tape(path)
    market.subscribed(NOW_NS)
    ((_, message),) = play(market, NOW_NS + 4 * NS, {"btcusdt@ticker"})
    ticker: Any = msgspec.json.decode(message.payload, type=Ticker24h)
    assert ticker.volume == "1.00000000"
    assert ticker.close_time == ticker.event_time
    assert ticker.close_time - ticker.open_time == 86_400_000
    assert NOW_NS // MS <= ticker.event_time <= NOW_NS // MS + 4000


def test_two_symbols_in_two_files_play_side_by_side(recorder: Any, made_tape: Path, open_tape: OpenTape) -> None:
    market = open_tape(made_tape, recorder("ETHUSDT"), loop=True)
    assert market.symbols() == ["BTCUSDT", "ETHUSDT"]
    market.subscribed(NOW_NS)
    wanted = {"btcusdt@trade", "ethusdt@trade"}
    counts = dict.fromkeys(wanted, 0)
    for _, message in play(market, NOW_NS + NS, wanted):
        counts[message.stream] += 1
    assert min(counts.values()) > 10


def test_a_timeline_is_a_straight_line() -> None:
    line = Timeline(tape_ns=1000, server_ns=5_000_000, speed=4.0)
    assert [line.at(1000), line.at(1400), line.at(600)] == [5_000_000, 5_000_100, 4_999_900]
