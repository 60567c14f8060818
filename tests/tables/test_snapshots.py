from hypothesis import given
from hypothesis import strategies as st

from tables.snapshots import SnapshotRecord, decode_key, encode_key, newest

SYMBOL = st.from_regex(r"[A-Z0-9]{2,20}", fullmatch=True)
EPOCH = st.integers(1, 2**63 - 1)


@given(SYMBOL, EPOCH)
def test_a_key_gives_symbol_and_epoch_back(symbol: str, epoch: int) -> None:
    assert decode_key(encode_key(symbol, epoch)) == (symbol, epoch)


@given(st.lists(st.tuples(st.sampled_from(("AAA", "BBB")), EPOCH)))
def test_the_newest_epoch_wins_in_whatever_order_records_come(keys: list[tuple[str, int]]) -> None:
    best = newest(SnapshotRecord(symbol, epoch, b"") for symbol, epoch in keys)
    for symbol in {symbol for symbol, _ in keys}:
        assert best[symbol].epoch == max(epoch for name, epoch in keys if name == symbol)
    assert len(best) == len({symbol for symbol, _ in keys})


def test_a_late_write_of_a_paused_worker_is_not_taken() -> None:
    successor, zombie = SnapshotRecord("BTCUSDT", 10, b"new"), SnapshotRecord("BTCUSDT", 9, b"old")
    assert newest([successor, zombie])["BTCUSDT"].state == b"new"
