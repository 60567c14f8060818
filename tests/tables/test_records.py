import os
import zlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tables import records
from tables.records import COVERAGE_KEY, Key, Snapshot, SymbolRecords, Writer, coverage, read, taken

LOG, OTHER_LOG = "cluster/topic", "cluster/another"
SYMBOL = st.from_regex(r"[A-Z0-9]{2,20}", fullmatch=True)
EPOCH = st.integers(1, 2**63 - 1)
STATES = st.binary(max_size=40)


def written(
    epoch: int, offset: int, *, version: int = 7, log: str | None = LOG, covers: int | None = None
) -> dict[bytes, bytes]:
    snapshot = Snapshot(f"state {offset}".encode(), version, log, offset, offset if covers is None else covers)
    return Writer("me").records("BTCUSDT", epoch, snapshot).writes


def found(table: dict[bytes, bytes], version: int = 7, log: str | None = LOG) -> SymbolRecords:
    return read(table.items(), version, log)["BTCUSDT"]


def offsets(table: dict[bytes, bytes], version: int = 7) -> list[int]:
    return [each.offset for each in found(table, version).candidates]


@given(SYMBOL, EPOCH, st.sampled_from(("ab12", "0")), st.none() | st.integers(0, 10**9))
def test_a_key_gives_back_what_it_stands_for(symbol: str, epoch: int, owner: str, number: int | None) -> None:
    key = Key(symbol, epoch, owner, number)
    assert Key.decode(key.encode()) == key


@given(STATES)
def test_a_snapshot_is_one_record_and_comes_back_as_it_was(state: bytes) -> None:
    changes = Writer("me").records("BTCUSDT", 4, Snapshot(state, 7, LOG, 12, 15))
    assert list(changes.writes) == [b"BTCUSDT/4/me"]
    assert changes.deletes == []
    each = found(changes.writes)
    assert (each.epoch, each.missing) == (4, False)
    assert each.candidates == [records.Candidate(12, 15, state)]


@given(st.dictionaries(EPOCH, st.integers(0, 9), min_size=1))
def test_the_highest_offset_comes_first_whoever_wrote_it_and_the_highest_epoch_counts(by_epoch: dict[int, int]) -> None:
    """Each snapshot is a true state of the log: of a paused worker and its successor, who is ahead is better."""
    table: dict[bytes, bytes] = {}
    for epoch, offset in by_epoch.items():
        table |= written(epoch, offset)
    assert offsets(table) == sorted(by_epoch.values(), reverse=True)
    assert found(table).epoch == max(by_epoch)
    assert set(found(table).keys) == set(table)


def test_an_epoch_counts_as_taken_before_there_is_a_snapshot_under_it() -> None:
    table = written(9, 100) | taken(Key("BTCUSDT", 12, "me"), 7, LOG, 100)
    assert (found(table).epoch, offsets(table)) == (12, [100])
    only_taken = read(taken(Key("ETHUSDT", 3, "me"), 7, LOG, 41).items(), 7, LOG)["ETHUSDT"]
    assert (only_taken.epoch, only_taken.candidates, only_taken.missing, only_taken.taken_at) == (3, [], False, 41)


class TestPieces:
    @pytest.fixture(autouse=True)
    def small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(records, "PIECE_BYTES", 100)

    def test_what_exceeds_the_limit_is_split_and_the_record_that_names_its_pieces_is_last(self) -> None:
        state = os.urandom(250)
        changes = Writer("me").records("BTCUSDT", 4, Snapshot(state, 7, LOG, 12, 12))
        assert list(changes.writes) == [b"BTCUSDT/4/me/0", b"BTCUSDT/4/me/1", b"BTCUSDT/4/me/2", b"BTCUSDT/4/me"]
        assert all(len(value) <= 200 for value in changes.writes.values())
        assert found(changes.writes).candidates[0].state == state

    @given(st.lists(st.integers(0, 3), min_size=1, max_size=5), st.data())
    def test_whoever_reads_in_the_middle_finds_the_old_snapshot_whole_or_the_new(
        self, sizes: list[int], data: st.DataObject
    ) -> None:
        writer, table, states = Writer("me"), dict[bytes, bytes](), list[bytes]()
        steps: list[tuple[bytes, bytes | None]] = []
        for offset, size in enumerate(sizes):
            states.append(os.urandom(100 * size))
            changes = writer.records("BTCUSDT", 1, Snapshot(states[-1], 7, LOG, offset, offset))
            steps += [*changes.writes.items(), *((key, None) for key in changes.deletes)]
        for key, value in steps[: data.draw(st.integers(0, len(steps)))]:
            if value is None:
                del table[key]
            else:
                table[key] = value
        if b"BTCUSDT/1/me" in table:
            (candidate,) = found(table).candidates
            assert candidate.state == states[candidate.offset]

    def test_a_piece_that_is_gone_is_a_snapshot_that_is_missing(self) -> None:
        table = written(3, 5) | Writer("me").records("BTCUSDT", 4, Snapshot(os.urandom(250), 7, LOG, 12, 12)).writes
        del table[b"BTCUSDT/4/me/1"]
        assert offsets(table) == [5]
        assert found(table).missing


class TestCoverage:
    def test_a_snapshot_of_a_quiet_symbol_covers_what_came_for_others_since(self) -> None:
        table = written(4, 12, covers=15) | coverage(LOG, 900, {"BTCUSDT": 12, "ETHUSDT": 890})
        assert found(table).candidates[0].covers == 900

    def test_an_older_snapshot_covers_only_what_it_did_and_shows_that_a_newer_one_is_missing(self) -> None:
        table = written(4, 12, covers=15) | coverage(LOG, 900, {"BTCUSDT": 13})
        assert (found(table).candidates[0].covers, found(table).missing) == (15, True)

    def test_a_symbol_of_which_nothing_is_left_is_missing(self) -> None:
        table = coverage(LOG, 900, {"BTCUSDT": 13, "ETHUSDT": -1})
        every = read(table.items(), 7, LOG)
        assert {name: each.missing for name, each in every.items()} == {"BTCUSDT": True}

    def test_that_of_another_log_says_nothing(self) -> None:
        table = written(4, 12) | coverage(OTHER_LOG, 900, {"BTCUSDT": 13})
        assert (found(table).candidates[0].covers, found(table).missing) == (12, False)

    @pytest.mark.parametrize("value", [b"", b"rubbish", msgspec.msgpack.encode([99, LOG, 900, {"BTCUSDT": 13}])])
    def test_one_that_cannot_be_read_says_nothing(self, value: bytes) -> None:
        assert not found(written(4, 12) | {COVERAGE_KEY: value}).missing


class TestOtherLogsAndVersions:
    def test_a_snapshot_of_another_log_is_no_candidate(self) -> None:
        table = written(4, 900, log=OTHER_LOG) | written(5, 3)
        assert (offsets(table), found(table).other_log) == ([3], True)
        assert set(found(table).keys) == set(table)

    @pytest.mark.parametrize("theirs", [None, LOG])
    def test_where_a_broker_gives_no_ids_any_log_may_be_the_same(self, theirs: str | None) -> None:
        assert offsets(written(4, 900, log=theirs)) == [900]
        assert [each.offset for each in found(written(4, 900), log=theirs).candidates] == [900]

    def test_a_snapshot_of_another_version_is_foreign_and_says_how_far_it_covers(self) -> None:
        table = written(4, 12) | written(5, 40, version=8, covers=44)
        assert (offsets(table), found(table).foreign) == ([12], {b"BTCUSDT/5/me": 44})
        assert found(table).keys == [b"BTCUSDT/4/me"]
        assert offsets(table, version=8) == [40]

    def test_what_another_version_has_written_is_not_missing(self) -> None:
        table = written(4, 12) | written(5, 40, version=8) | coverage(LOG, 44, {"BTCUSDT": 40})
        assert not found(table).missing
        assert found(table).candidates[0].covers == 12, "of ours it says nothing"

    @pytest.mark.parametrize(
        "value", [b"", b"rubbish", zlib.compress(b"head"), msgspec.msgpack.encode([5, [0, 1], b"h"])]
    )
    def test_records_of_another_format_are_foreign(self, value: bytes) -> None:
        table = {b"BTCUSDT/3": value, b"BTCUSDT/3/0": b"part"}
        each = found(table)
        assert (each.epoch, each.candidates, each.keys) == (3, [], [])
        assert each.foreign == {b"BTCUSDT/3": -1, b"BTCUSDT/3/0": -1}

    def test_a_damaged_state_is_missing_and_the_one_before_it_a_candidate(self) -> None:
        table = written(4, 12) | written(5, 40)
        table[b"BTCUSDT/5/me"] = table[b"BTCUSDT/5/me"].replace(b"state", b"stale")
        assert (offsets(table), found(table).missing) == ([12], True)

    def test_keys_that_are_not_ours_are_left_alone(self) -> None:
        assert set(read([(b"something", b"else"), (b"a/b", b"c")], 7, LOG)) == set()


def test_two_owners_of_one_epoch_do_not_overwrite_each_other() -> None:
    """Redis was emptied, and a worker that does not know yet that it was replaced got its successor's epoch."""
    late = taken(Key("BTCUSDT", 4, "late"), 7, LOG, 3)
    assert offsets(written(4, 12) | late) == [12]


def test_symbols_do_not_mix() -> None:
    table = {
        **Writer("me").records("AAA", 1, Snapshot(b"a", 7, LOG, 7, 7)).writes,
        **Writer("me").records("AAAB", 2, Snapshot(b"b", 7, LOG, 8, 8)).writes,
    }
    assert {name: each.candidates[0].state for name, each in read(table.items(), 7, LOG).items()} == {
        "AAA": b"a",
        "AAAB": b"b",
    }
