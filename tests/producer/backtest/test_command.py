import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from producer.backtest import command


def run(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([str(argument) for argument in arguments]))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the settings of whoever runs the tests away, and the default output in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    for name in ("FLOW_WINDOW_SEC", "REPORT_WINDOW_SEC", "DEGRADED_AFTER_MS", "DOWN_AFTER_MS"):
        monkeypatch.delenv(name, raising=False)


def test_a_tape_becomes_a_file_of_reports_and_a_line_that_sums_up(
    small_tape: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--tape", small_tape, "--every", "500ms") == 0
    said, errors = capsys.readouterr()
    assert said.startswith("reports.jsonl: 6 reports of BTCUSDT, 0.0 MB; 72 events in ")
    assert (said.endswith(" events/s\n"), errors) == (True, "")
    assert len((tmp_path / "reports.jsonl").read_bytes().splitlines()) == 6


def test_parquet_holds_the_same_reports(small_tape: Path, tmp_path: Path) -> None:
    for name in ("reports.jsonl", "reports.parquet"):
        assert run("--tape", small_tape, "--out", tmp_path / name, "--every", "100ms") == 0
    lines = [json.loads(line) for line in (tmp_path / "reports.jsonl").read_bytes().splitlines()]
    with pq.ParquetFile(tmp_path / "reports.parquet") as file:
        rows = file.read().to_pylist()
    assert [row["mid_price"] for row in rows] == [line["mid_price"] for line in lines]
    assert [row["depth_top_bids"] for row in rows] == [line["depth"]["top_bids"] for line in lines]


def test_settings_come_from_the_environment(
    small_tape: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLOW_WINDOW_SEC", "1")
    assert run("--tape", small_tape) == 0
    assert json.loads((tmp_path / "reports.jsonl").read_bytes().splitlines()[-1])["flow"]["net_flow"] is not None
    monkeypatch.setenv("FLOW_WINDOW_SEC", "0")
    assert run("--tape", small_tape) == 2
    assert "FLOW_WINDOW_SEC='0' is not allowed" in capsys.readouterr().err


@pytest.mark.parametrize("every", ["0s", "1", "s", "-1s", "1.5s", "1 s", "25h", "1d", "", "99999999999s"])
def test_a_bad_step_is_told_in_one_line(every: str, small_tape: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--tape", small_tape, f"--every={every}") == 2
    assert capsys.readouterr().err == (
        f"context8 backtest: --every {every} is not allowed: "
        "a whole number and ms, s, m or h, such as 250ms or 1s, at most 24h\n"
    )


@pytest.mark.parametrize("every", ["1ms", "250ms", "1s", "1m", "24h", "86400s"])
def test_a_good_step_is_not_refused(every: str, small_tape: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("--tape", small_tape, "--every", every)
    assert "is not allowed" not in capsys.readouterr().err


def _no_file(tape: Any, tmp_path: Path) -> list[object]:
    return ["--tape", tmp_path / "none.tape"]


def _damaged(tape: Any, tmp_path: Path) -> list[object]:
    return ["--tape", tape.trade(0, 1).trade(2_000, 2).line(2_001, '{"stream":"btcusdt@trade"}').save()]


def _bad_number(tape: Any, tmp_path: Path) -> list[object]:
    return ["--tape", tape.trade(0, 1).trade(2_000, 2, "cheap").save()]


def _nothing(tape: Any, tmp_path: Path) -> list[object]:
    return []


def _both(tape: Any, tmp_path: Path) -> list[object]:
    return ["--tape", tape.trade(0, 1).save(), "--catalog", tmp_path]


def _no_catalog(tape: Any, tmp_path: Path) -> list[object]:
    return ["--catalog", tmp_path / "none"]


def _extension(tape: Any, tmp_path: Path) -> list[object]:
    return ["--tape", tape.trade(0, 1).save(), "--out", tmp_path / "reports.csv"]


def _too_short(tape: Any, tmp_path: Path) -> list[object]:
    return ["--tape", tape.trade(0, 1).save()]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (_no_file, "none.tape: No such file or directory"),
        (_damaged, "made.tape:3: stream btcusdt@trade without data"),
        (_bad_number, "made.tape:2: 'cheap' is not a decimal number"),
        (_nothing, "give either --tape FILE… or --catalog DIR"),
        (_both, "give either --tape FILE… or --catalog DIR"),
        (_no_catalog, "none: no NautilusTrader catalog, it has no folder data"),
        (_extension, "reports.csv: the extension must be .jsonl or .parquet"),
        (_too_short, "no report: --every is longer than the recording, which holds no multiple of it"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line_and_leaves_no_file(
    arguments: Callable[[Any, Path], list[object]],
    problem: str,
    tape: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = arguments(tape, tmp_path)
    before = set(tmp_path.iterdir())
    assert run(*given) == 2
    said, errors = capsys.readouterr()
    assert said == ""
    assert errors.startswith("context8 backtest: ")
    assert errors.endswith(f"{problem}\n")
    assert errors.count("\n") == 1
    assert set(tmp_path.iterdir()) == before


def test_the_same_symbols_of_a_catalog_that_are_not_read_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for instrument in ("BTCUSDT.BYBIT", "ETHUSDT-PERP.BINANCE"):
        (tmp_path / "data" / "trade_tick" / instrument).mkdir(parents=True)
        (tmp_path / "data" / "trade_tick" / instrument / "x.parquet").write_bytes(b"")
    assert run("--catalog", tmp_path) == 2
    assert "only BTCUSDT.BYBIT, ETHUSDT-PERP.BINANCE" in capsys.readouterr().err
