from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from app.microstructure.engine import EngineParams, SymbolEngine
from app.microstructure.report import Report, Stamp, encode
from app.plot.table import COLUMNS
from producer.backtest import output
from producer.backtest.source import BacktestError
from support.markets import SECOND, START, depth, trade


def reports(count: int) -> list[Report]:
    engine = SymbolEngine("BTCUSDT", EngineParams())
    found = []
    for number in range(count):
        at = START + number * SECOND
        engine.apply(trade(number + 1, at=at), 2 * number)
        engine.apply(depth(number, [(99.0, 1.0 + number)], [(101.0, 2.0)], at=at), 2 * number + 1)
        found.append(engine.report(at, Stamp("backtest", 1, 0, at)))
    return found


def test_json_lines_are_the_reports_bytes(tmp_path: Path) -> None:
    written = reports(3)
    with output.opened(tmp_path / "r.jsonl") as writer:
        for report in written:
            writer.write(report)
    assert (tmp_path / "r.jsonl").read_bytes() == b"".join(encode(report) + b"\n" for report in written)


def test_parquet_has_a_row_a_report_over_several_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "ROW_GROUP", 4)
    written = reports(10)
    with output.opened(tmp_path / "r.parquet") as writer:
        for report in written:
            writer.write(report)
    with pq.ParquetFile(tmp_path / "r.parquet") as file:
        assert file.num_row_groups == 3
        table = file.read()
    assert table.column_names == [column.name for column in COLUMNS]
    assert table["best_bid_qty"].to_pylist() == [1.0 + number for number in range(10)]


@pytest.mark.parametrize("name", ["r.jsonl", "r.parquet"])
@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_the_older_file_and_nothing_else(
    tmp_path: Path, name: str, failure: type[BaseException]
) -> None:
    (tmp_path / name).write_text("older")

    def fail() -> None:
        with output.opened(tmp_path / name) as writer:
            writer.write(reports(1)[0])
            raise failure

    with pytest.raises(failure):
        fail()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "older")]


def test_nothing_has_the_final_name_before_the_end(tmp_path: Path) -> None:
    with output.opened(tmp_path / "r.jsonl") as writer:
        writer.write(reports(1)[0])
        assert not (tmp_path / "r.jsonl").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["r.jsonl"]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("r.csv", r"r\.csv: the extension must be \.jsonl or \.parquet"),
        ("reports", r"the extension must be"),
        ("none/r.jsonl", r"there is no folder .*none"),
        ("folder.jsonl", r"that is a folder"),
    ],
)
def test_a_path_that_cannot_be_written_to_is_refused(tmp_path: Path, name: str, problem: str) -> None:
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(BacktestError, match=problem), output.opened(tmp_path / name):
        pytest.fail("it was opened")


def test_a_full_disk_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(output.JsonLinesWriter, "write", fail)
    with (
        pytest.raises(BacktestError, match=r"r\.jsonl: No space left on device"),
        output.opened(tmp_path / "r.jsonl") as writer,
    ):
        writer.write(reports(1)[0])
    assert list(tmp_path.iterdir()) == []
