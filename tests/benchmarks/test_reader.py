"""The reckoning of `make bench-reader`: medians, what counts as an outage, must and aim, and what is written."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from app.stack.errors import StackError
from benchmarks.documents import Markers
from benchmarks.reader import parse
from benchmarks.reader_load import KINDS, requests
from benchmarks.reader_result import Speed, speed, speed_table, trouble, trouble_table, verdicts


def seen(**changed: Any) -> dict[str, Any]:
    return {
        "calls": 100,
        "per_sec": 50.0,
        "errors": 0,
        "p50_ms": 1.0,
        "p99_ms": 2.0,
        "max_ms": 3.0,
        "first_error": None,
        "good_again": None,
        "healed": 10.0,
    } | changed


def test_each_figure_is_the_median_of_its_own() -> None:
    found = speed(1, "mcp", "reader", [seen(per_sec=1.0, p99_ms=9.0), seen(per_sec=3.0), seen(per_sec=2.0)])
    assert (found.per_sec, found.p99_ms) == (2.0, 2.0)


def test_an_outage_lasts_from_the_first_error_to_the_first_answer_after_the_last() -> None:
    found = trouble("x", "reader", [seen(errors=25, first_error=9.5, good_again=10.25)])
    assert (found.without_ms, found.back_ms, found.errors_share) == (750.0, 250.0, 0.25)


def test_where_nobody_saw_an_error_there_was_no_outage() -> None:
    assert "| x | reader | 3 | – | – | 0% |" in trouble_table([trouble("x", "reader", [seen()])])


def test_a_server_that_does_not_come_back_never_does() -> None:
    found = trouble("x", "plain SDK", [seen(calls=0, max_ms=math.inf)])
    assert "| never | never | never |" in trouble_table([found])


@pytest.mark.parametrize(
    ("p99_ms", "per_sec", "verdict"),
    [
        (30.0, 1000.0, "30.0 ms, 10.0 times; must kept, aim reached"),
        (31.0, 1000.0, "31.0 ms, 10.0 times; must kept, aim missed"),
        (30.0, 990.0, "30.0 ms, 9.9 times; must kept, aim missed"),
        (151.0, 1000.0, "151.0 ms, 10.0 times; must **missed**, aim missed"),
    ],
)
def test_must_and_aim_are_looked_at_with_100_callers(p99_ms: float, per_sec: float, verdict: str) -> None:
    plain = Speed(100, "mcp", "plain SDK", 100.0, 1.0, 500.0, 0)
    reader = Speed(100, "mcp", "reader", per_sec, 1.0, p99_ms, 0)
    many = Speed(500, "mcp", "reader", 1.0, 1.0, 999.0, 0)
    assert verdicts([plain, reader, many]) == [f"- get_report, MCP 2025-11-25: {verdict}"]


def test_what_the_plain_server_has_not_stands_alone() -> None:
    table = speed_table([Speed(100, "tools/list", "reader", 12_345.6, 1.23, 4.56, 2)])
    assert table.splitlines()[-1] == "| 100 | tools/list | – | – | 12,346 (2 errors) | 1.2 / 4.6 | – |"


@pytest.mark.parametrize("kind", [*KINDS, "modern", "get"])
def test_every_load_is_one_whole_request_for_each_symbol(kind: str) -> None:
    made = requests(kind, "localhost:1")
    assert len(made) == 10
    for each in made:
        head, _, body = each.partition(b"\r\n\r\n")
        assert (b"Content-Length: %d" % len(body) in head) is bool(body)
        assert not body or json.loads(body)["method"] == KINDS["mcp" if kind == "modern" else kind][0]


def test_only_what_is_between_the_markers_is_replaced(tmp_path: Path) -> None:
    document, markers = tmp_path / "reader.md", Markers("bench-x")
    document.write_text(f"above\n{markers.begin}\nold\n{markers.end}\nbelow\n", encoding="utf-8")
    markers.write(document, "new")
    markers.write(document, "newer")
    assert document.read_text(encoding="utf-8") == f"above\n{markers.begin}\nnewer\n{markers.end}\nbelow\n"


def test_a_document_without_markers_is_refused_and_left_alone(tmp_path: Path) -> None:
    document = tmp_path / "reader.md"
    document.write_text("above\n", encoding="utf-8")
    with pytest.raises(StackError, match=r"reader\.md needs the lines"):
        Markers("bench-x").write(document, "new")
    assert document.read_text(encoding="utf-8") == "above\n"


@pytest.mark.parametrize(
    "arguments",
    [["--only", "speed,nap"], ["--callers", "0"], ["--callers", "many"], ["--write", "reader.md", "--only", "speed"]],
)
def test_a_wrong_option_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(arguments)
    assert arguments[0] in capsys.readouterr().err
