import argparse
from pathlib import Path

import pytest

from app.microstructure.report import Report, encode
from app.plot import command


def run(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([str(argument) for argument in arguments]))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_pictures_lie_beside_the_reports_and_are_named(
    report_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(report_file) == 0
    assert names(tmp_path) == {"reports.jsonl", "reports.png", "reports.html"}
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "reports.png"), str(tmp_path / "reports.html")]


def test_pictures_go_where_they_are_wanted(report_file: Path, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    assert run(report_file, "--out", tmp_path / "pictures" / "first.try") == 0
    assert names(tmp_path / "pictures") == {"first.try.png", "first.try.html"}


def test_each_symbol_gets_its_pictures_and_one_can_be_chosen(two_symbols: list[Report], tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_bytes(b"".join(encode(report) + b"\n" for report in two_symbols))
    assert run(tmp_path / "r.jsonl", "--symbol", "ETHUSDT", "--out", tmp_path / "one") == 0
    assert run(tmp_path / "r.jsonl") == 0
    assert names(tmp_path) == {"r.jsonl", "one.png", "one.html"} | {
        f"r-{symbol}.{extension}" for symbol in ("BTCUSDT", "ETHUSDT") for extension in ("png", "html")
    }


def test_what_cannot_be_drawn_is_told_in_one_line(
    report_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, problem in (
        ([tmp_path / "none.parquet"], "none.parquet: No such file or directory"),
        ([report_file, "--symbol", "SOLUSDT"], "no reports of SOLUSDT, only of BTCUSDT"),
        ([report_file, "--out", tmp_path / "none" / "name"], f"there is no folder {tmp_path / 'none'}"),
    ):
        assert run(*arguments) == 2
        said, errors = capsys.readouterr()
        assert (said, errors.count("\n")) == ("", 1)
        assert errors.startswith("context8 plot: ")
        assert errors.endswith(f"{problem}\n")
    assert names(tmp_path) == {"reports.jsonl"}
