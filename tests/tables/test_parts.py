import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tables.parts import Found, Key, Ledger, newest, taken

SYMBOL = st.from_regex(r"[A-Z0-9]{2,20}", fullmatch=True)
EPOCH = st.integers(1, 2**63 - 1)
PARTS = st.lists(st.sampled_from((b"", b"a", b"bb", b"ccc", b"dddd")), max_size=5)


@given(SYMBOL, EPOCH, st.none() | st.integers(0, 10**9))
def test_a_key_gives_back_what_it_stands_for(symbol: str, epoch: int, number: int | None) -> None:
    key = Key(symbol, epoch, number)
    assert Key.decode(key.encode()) == key


def found(table: dict[bytes, bytes]) -> Found:
    return newest(table.items())["BTCUSDT"]


@given(st.lists(st.tuples(st.binary(max_size=3), PARTS), min_size=1, max_size=8))
def test_the_table_has_the_last_snapshot_and_nothing_else(snapshots: list[tuple[bytes, list[bytes]]]) -> None:
    ledger, table = Ledger(), dict[bytes, bytes]()
    for offset, (head, parts) in enumerate(snapshots):
        changes = ledger.changes("BTCUSDT", 4, offset, head, parts)
        table |= changes.writes
        for key in changes.deletes:
            del table[key]
    last = found(table)
    assert (last.epoch, last.head, last.parts) == (4, *snapshots[-1])
    assert len(table) == 1 + len(set(last.parts))


@given(st.lists(st.tuples(st.binary(max_size=3), PARTS), min_size=1, max_size=4), st.data())
def test_whoever_reads_in_the_middle_finds_a_whole_snapshot(
    snapshots: list[tuple[bytes, list[bytes]]], data: st.DataObject
) -> None:
    ledger, table = Ledger(), dict[bytes, bytes]()
    steps: list[tuple[bytes, bytes | None]] = []
    for offset, (head, parts) in enumerate(snapshots):
        changes = ledger.changes("BTCUSDT", 1, offset, head, parts)
        steps += [*changes.writes.items(), *((key, None) for key in changes.deletes)]
    for key, value in steps[: data.draw(st.integers(0, len(steps)))]:
        if value is None:
            del table[key]
        else:
            table[key] = value
    if Key("BTCUSDT", 1).encode() in table:
        last = found(table)
        assert (last.head, last.parts) in snapshots


def test_a_part_is_written_once() -> None:
    ledger = Ledger()
    ledger.changes("BTCUSDT", 1, 10, b"one", [b"long", b"short"])
    changes = ledger.changes("BTCUSDT", 1, 20, b"two", [b"long", b"new"])
    assert list(changes.writes) == [Key("BTCUSDT", 1, 2).encode(), Key("BTCUSDT", 1).encode()], "the head comes last"
    assert changes.deletes == [Key("BTCUSDT", 1, 1).encode()]


def test_after_distrust_parts_are_written_again_under_numbers_of_their_own() -> None:
    ledger = Ledger()
    table = dict(ledger.changes("BTCUSDT", 1, 10, b"one", [b"old"]).writes)
    ledger.distrust()
    again = ledger.changes("BTCUSDT", 1, 20, b"two", [b"new", b"old"])
    assert not set(again.writes) & set(table) - {Key("BTCUSDT", 1).encode()}
    table |= {key: value for key, value in again.writes.items() if Key.decode(key).number is not None}
    assert found(table).parts == [b"old"], "a head that was not written yet changes nothing"


def written(epoch: int, offset: int, head: bytes, parts: list[bytes]) -> dict[bytes, bytes]:
    return Ledger().changes("BTCUSDT", epoch, offset, head, parts).writes


@given(st.dictionaries(EPOCH, st.integers(0, 9), min_size=1))
def test_the_highest_offset_wins_whoever_wrote_it_and_the_highest_epoch_counts(offsets: dict[int, int]) -> None:
    """Each snapshot is a true state of the log: of a paused worker and its successor, who is ahead is better."""
    table: dict[bytes, bytes] = {}
    for epoch, offset in offsets.items():
        table |= written(epoch, offset, f"{epoch}".encode(), [b"part"])
    last = found(table)
    assert (last.epoch, last.offset) == (max(offsets), max(offsets.values()))
    assert offsets[int(last.head)] == last.offset
    assert set(last.stale) == set(table)


def test_an_epoch_counts_as_taken_before_there_is_a_snapshot_under_it() -> None:
    table = written(9, 100, b"state", []) | taken("BTCUSDT", 12)
    last = found(table)
    assert (last.epoch, last.offset, last.head) == (12, 100, b"state")
    only_taken = found(taken("ETHUSDT", 3) | taken("BTCUSDT", 3))
    assert (only_taken.epoch, only_taken.offset, only_taken.beyond) == (3, -1, False)


@pytest.mark.parametrize("missing", [0, 1])
def test_a_snapshot_with_a_part_missing_is_not_taken_and_its_epoch_still_counts(missing: int) -> None:
    table = written(9, 90, b"old", [b"x"]) | written(10, 100, b"new", [b"x", b"y"])
    del table[Key("BTCUSDT", 10, missing).encode()]
    assert found(table)[:5] == ("BTCUSDT", 10, 90, b"old", [b"x"])


def test_a_snapshot_of_an_offset_beyond_the_end_of_the_log_is_of_another_log() -> None:
    table = written(9, 5000, b"old log", []) | written(10, 40, b"this log", [])
    assert newest(table.items(), end=41)["BTCUSDT"][:4] == ("BTCUSDT", 10, 40, b"this log")
    nothing = newest(table.items(), end=40)["BTCUSDT"]
    assert (nothing.epoch, nothing.offset, nothing.beyond) == (10, -1, True)


def test_damaged_snapshots_leave_nothing_but_their_epoch() -> None:
    table = {Key("BTCUSDT", 3).encode(): b"rubbish", Key("BTCUSDT", 2).encode(): zlib.compress(b"no head")}
    assert found(table)[:5] == ("BTCUSDT", 3, -1, b"", [])


def test_symbols_do_not_mix() -> None:
    table = Ledger().changes("AAA", 1, 7, b"a", [b"1"]).writes | Ledger().changes("AAAB", 2, 8, b"b", [b"2"]).writes
    assert {name: (each.head, each.parts) for name, each in newest(table.items()).items()} == {
        "AAA": (b"a", [b"1"]),
        "AAAB": (b"b", [b"2"]),
    }
