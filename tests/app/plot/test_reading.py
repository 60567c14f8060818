from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.microstructure.report import Report, encode
from app.plot.reading import PlotError, read
from app.plot.table import batch


def test_both_kinds_of_file_give_the_same_table(tmp_path: Path, report_file: Path, reports: list[Report]) -> None:
    parquet = tmp_path / "reports.parquet"
    pq.write_table(pa.Table.from_batches([batch(reports)]), parquet)
    assert read(parquet).equals(read(report_file))


def test_reports_are_put_in_order_of_time(tmp_path: Path, report_file: Path, reports: list[Report]) -> None:
    shuffled = tmp_path / "shuffled.jsonl"
    shuffled.write_bytes(b"".join(encode(report) + b"\n" for report in reversed(reports)))
    assert read(shuffled).equals(read(report_file))


@pytest.mark.parametrize(
    ("name", "contents", "problem"),
    [
        ("reports.csv", b"", r"reports\.csv: the extension must be \.parquet or \.jsonl"),
        ("none.jsonl", None, r"none\.jsonl: No such file or directory"),
        ("none.parquet", None, r"none\.parquet: No such file or directory"),
        ("empty.jsonl", b"", r"empty\.jsonl: there are no reports in it"),
        ("bad.jsonl", b'{"symbol":"BTCUSDT"}\n', r"bad\.jsonl:1: no report: Object missing required field"),
        ("bad.jsonl", b"\xff\n", r"bad\.jsonl:1: no report: "),
        ("bad.parquet", b"PAR1 no more", r"bad\.parquet: "),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, contents: bytes | None, problem: str) -> None:
    if contents is not None:
        (tmp_path / name).write_bytes(contents)
    with pytest.raises(PlotError, match=problem):
        read(tmp_path / name)


def test_a_parquet_file_of_something_else_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"symbol": ["BTCUSDT"]}), tmp_path / "other.parquet")
    with pytest.raises(PlotError, match=r"other\.parquet: no file of reports, it has no column provenance_as_of"):
        read(tmp_path / "other.parquet")
