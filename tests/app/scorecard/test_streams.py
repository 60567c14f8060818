from itertools import pairwise
from pathlib import Path

import pytest

from app.microstructure.book import OrderBook
from app.microstructure.events import OrderBookDeltas, TradeTick
from app.scorecard.streams import Stream, recorded, simulated
from producer.exchange.tape import TapeError
from support.scoring import market


def _is_what_a_venue_sends(stream: Stream) -> None:
    diffs = [event.payload for event in stream.events if isinstance(event, OrderBookDeltas)]
    trades = [event.payload.trade_id for event in stream.events if isinstance(event, TradeTick)]
    assert diffs[0].snapshot
    assert not any(diff.snapshot for diff in diffs[1:])
    assert all(newer.first_update_id <= older.final_update_id + 1 for older, newer in pairwise(diffs))
    assert all(older < newer for older, newer in pairwise(trades))
    book = OrderBook()
    for diff in diffs:
        book.apply_deltas(diff, 0)
    assert book.ok
    assert book.gap_count == 0


def test_a_synthetic_stream_begins_with_a_snapshot_and_stays_in_sequence() -> None:
    stream = market()
    _is_what_a_venue_sends(stream)
    assert (stream.tick, stream.step) == (0.01, 0.001)
    assert stream.end - stream.start == pytest.approx(240e9, rel=0.01)


def test_the_same_seed_gives_the_same_stream() -> None:
    first, second, other = (simulated("ETHUSDT", seed=seed, rate=30, seconds=5).events for seed in (1, 1, 2))
    assert first == second
    assert first != other


@pytest.mark.tape
def test_the_recorded_tape_is_joined_to_its_snapshot(tape_path: Path) -> None:
    stream = recorded([tape_path])
    _is_what_a_venue_sends(stream)
    assert (stream.symbol, stream.tick) == ("BTCUSDT", 0.01)
    assert stream.end - stream.start == pytest.approx(346e9, rel=0.01)
    assert sum(isinstance(event, TradeTick) for event in stream.events) > 9000


def test_a_tape_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TapeError, match=r"absent\.tape"):
        recorded([tmp_path / "absent.tape"])
