import gzip
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.record import tape_file
from producer.record.tape_file import Rotation, TapeFile

NEVER = Rotation()


def lines_of(path: Path) -> list[bytes]:
    with gzip.open(path) as lines:
        return [line.rstrip(b"\n") for line in lines]


def test_a_file_can_be_read_to_its_end_after_every_flush(tmp_path: Path) -> None:
    file = TapeFile(tmp_path / "day.tape.gz", None, NEVER, 0.0)
    for number in range(5):
        file.write(b"%d {}" % number)
        file.flush()
        assert lines_of(tmp_path / "day.tape.gz") == [b"%d {}" % it for it in range(number + 1)]
    file.write(b"not flushed")
    assert len(lines_of(tmp_path / "day.tape.gz")) == 5
    file.close()
    assert lines_of(tmp_path / "day.tape.gz")[-1] == b"not flushed"


_TO_A_LIMIT = """
import random, resource, sys
from pathlib import Path
from producer.record.tape_file import Rotation, TapeFile

resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, resource.RLIM_INFINITY))
file = TapeFile(Path(sys.argv[1]), None, Rotation(), 0.0)
for number in range(3):
    file.write(b"%d %s" % (number, random.randbytes(2_000).hex().encode()))
    try:
        file.flush()
    except OSError as error:
        print(number, error.strerror, file.size)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
file.write(b"9 there is room again")
file.close()
"""


def test_what_a_full_disk_takes_of_a_member_is_taken_back(tmp_path: Path) -> None:
    """A file that may grow to so many bytes and no further takes a part of a write, as a full disk does."""
    out = tmp_path / "day.tape.gz"
    ran = subprocess.run([sys.executable, "-c", _TO_A_LIMIT, out], capture_output=True, text=True, check=True)
    refused = [line.split(" ", 1) for line in ran.stdout.splitlines()]
    assert refused, "the limit was not met"
    kept = [number for number in ("0", "1", "2") if number not in {each[0] for each in refused}]
    assert [line.split(b" ")[0].decode() for line in lines_of(out)] == [*kept, "9"]


def test_a_megabyte_is_flushed_without_being_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tape_file, "MEMBER_BYTES", 100)
    file = TapeFile(tmp_path / "day.tape.gz", None, NEVER, 0.0)
    for _ in range(11):
        file.write(b"0123456789")
    assert len(lines_of(tmp_path / "day.tape.gz")) == 10
    file.close()


def test_names_say_symbol_and_part_where_there_are_several(tmp_path: Path) -> None:
    for symbol, rotation, name in (
        (None, NEVER, "a.tape.gz"),
        ("BTCUSDT", NEVER, "a.BTCUSDT.tape.gz"),
        ("BTCUSDT", Rotation(most_bytes=1), "a.BTCUSDT.0001.tape.gz"),
    ):
        file = TapeFile(tmp_path / "a.tape.gz", symbol, rotation, 0.0)
        file.close()
        assert file.paths == [tmp_path / name]


@pytest.mark.parametrize("rotation", [Rotation(most_bytes=20), Rotation(most_seconds=60.0)])
def test_a_full_part_is_followed_by_the_next(tmp_path: Path, rotation: Rotation) -> None:
    file = TapeFile(tmp_path / "day.tape.gz", None, rotation, 0.0)
    assert not file.rotate(100.0), "an empty part is never full"
    file.write(b"first")
    assert file.rotate(160.0)
    file.write(b"second")
    file.close()
    assert [lines_of(path) for path in file.paths] == [[b"first"], [b"second"]]
    assert file.size == sum(path.stat().st_size for path in file.paths)


def test_a_part_that_is_neither_large_nor_old_goes_on(tmp_path: Path) -> None:
    file = TapeFile(tmp_path / "day.tape.gz", None, Rotation(most_bytes=1000, most_seconds=60.0), 0.0)
    file.write(b"first")
    assert not file.rotate(59.0)
    file.close()
    assert len(file.paths) == 1


def test_another_recording_is_never_written_over(tmp_path: Path) -> None:
    TapeFile(tmp_path / "day.tape.gz", None, NEVER, 0.0).close()
    with pytest.raises(FileExistsError):
        TapeFile(tmp_path / "day.tape.gz", None, NEVER, 0.0)


@given(st.lists(st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"").replace(b"\r", b"")))))
def test_what_is_read_is_what_was_written(tmp_path_factory: pytest.TempPathFactory, batches: list[list[bytes]]) -> None:
    path = tmp_path_factory.mktemp("tape") / "day.tape.gz"
    file = TapeFile(path, None, NEVER, 0.0)
    for batch in batches:
        for line in batch:
            file.write(line)
        file.flush()
    file.close()
    written = [line for batch in batches for line in batch]
    assert (lines_of(path) if written else []) == written
