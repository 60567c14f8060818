import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.examples import examples
from tables import database as module
from tables.database import Database, DatabaseError, Position


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "snapshots"


@pytest.fixture
def database(folder: Path) -> Iterator[Database]:
    opened = Database(folder)
    opened.open()
    yield opened
    opened.close()


def test_a_copy_begins_empty_at_offset_0(database: Database) -> None:
    assert database.position(3) == Position(None, 0)
    assert list(database.items(3)) == []


def test_contents_and_position_survive_together(database: Database) -> None:
    database.adopt(1, "log")
    database.apply(1, 0, {b"a": b"1", b"b": b"2"}, 7)
    database.apply(1, 7, {b"a": b"3", b"b": None}, 9)
    database.close()
    database.open()
    assert (dict(database.items(1)), database.position(1)) == ({b"a": b"3"}, Position("log", 9))


@pytest.mark.parametrize(("start", "end"), [(6, 9), (8, 9), (0, 9), (7, 6)])
def test_what_does_not_join_on_is_refused_and_changes_nothing(database: Database, start: int, end: int) -> None:
    """A fetch of before a seek, or one of which the record in front is lost."""
    database.apply(1, 0, {b"a": b"1"}, 7)
    with pytest.raises(ValueError, match="does not join on to 7"):
        database.apply(1, start, {b"a": b"2"}, end)
    assert (dict(database.items(1)), database.position(1).offset) == ({b"a": b"1"}, 7)


def test_partitions_do_not_mix_and_one_is_forgotten_alone(database: Database) -> None:
    for partition in (0, 1, 255, 256, 257):
        database.apply(partition, 0, {b"k": str(partition).encode()}, 5)
    database.begin(255, Position("log", 2))
    kept = {partition: dict(database.items(partition)) for partition in (0, 1, 255, 256, 257)}
    assert kept == {0: {b"k": b"0"}, 1: {b"k": b"1"}, 255: {}, 256: {b"k": b"256"}, 257: {b"k": b"257"}}
    assert database.position(255) == Position("log", 2)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(50))
@given(st.lists(st.dictionaries(st.binary(min_size=1, max_size=3), st.none() | st.binary(max_size=3)), max_size=6))
def test_it_holds_what_a_dictionary_would(database: Database, batches: list[dict[bytes, bytes | None]]) -> None:
    database.begin(5, Position(None, 0))
    expected: dict[bytes, bytes] = {}
    for number, batch in enumerate(batches):
        database.apply(5, number, batch, number + 1)
        for key, value in batch.items():
            expected.pop(key, None)
            if value is not None:
                expected[key] = value
    assert dict(database.items(5)) == expected


class TestBroken:
    @pytest.mark.parametrize("spoil", ["CURRENT", "MANIFEST", ".sst", ".log"])
    def test_a_database_that_cannot_be_read_is_made_again(
        self, folder: Path, spoil: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """As a power cut leaves it; the changelog has everything."""
        database = Database(folder)
        database.open()
        for number in range(40):
            database.apply(0, number, {b"%d" % number: os.urandom(1 << 19)}, number + 1)
        database.close()
        spoilt = [path for path in folder.iterdir() if spoil in path.name]
        assert spoilt
        for path in spoilt:
            path.write_bytes(b"\x00garbage" * 100)
        database.open()
        try:
            list(database.items(0))
            end = database.position(0).offset
        except Exception as error:  # only found when it is read
            database.rebuild(error)
            end = 0
        assert end in (0, 40)
        assert end == 40 or "made again from the changelog" in caplog.text
        database.close()

    def test_a_folder_that_cannot_be_made_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(DatabaseError, match=r"data folder .*file/snapshots cannot be used"):
            Database(tmp_path / "file" / "snapshots").open()

    def test_a_second_rebuild_soon_after_the_first_is_no_repair(self, database: Database) -> None:
        database.apply(0, 0, {b"a": b"1"}, 3)
        database.rebuild(OSError("No space left on device"))
        assert database.position(0) == Position(None, 0)
        with pytest.raises(DatabaseError, match="No space left on device"):
            database.rebuild(OSError("No space left on device"))

    def test_one_much_later_is(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "_REBUILD_AGAIN_SEC", 0.0)
        for _ in range(2):
            database.rebuild(OSError("a bad sector"))

    def test_a_copy_of_another_format_is_read_again(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(module, "_FORMAT", 99)
            database.apply(0, 0, {b"a": b"1"}, 3)
        database.close()
        database.open()
        assert database.position(0) == Position(None, 0)
        assert list(database.items(0)) == []
