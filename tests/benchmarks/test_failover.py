"""The reckoning of `make bench-failover`: what counts as fresh, as a gap, as a percentile, and what is written."""

from pathlib import Path

import pytest

from app.stack.errors import StackError
from benchmarks.failover import parse
from benchmarks.failover_result import BEGIN, END, Change, Measured, percentile, table, write_between_markers
from benchmarks.failover_watch import Moment, Sighting, fresh_after, longest_gaps, written_by

HISTORY = {
    "ADA": [
        Sighting("w1", 900, 9.0),
        Sighting("w1", 1001, 10.01),
        Sighting("w2", 999, 10.1),
        Sighting("w2", 1300, 10.3),
    ],
    "BTC": [Sighting("w2", 900, 9.0), Sighting("w2", 1100, 10.1)],
    "ETH": [Sighting("w1", 990, 9.9)],
    "XRP": [],
}


def test_only_a_newer_report_of_another_worker_is_fresh() -> None:
    found = fresh_after(HISTORY, ["ADA", "ETH"], "w1", Moment(10.0, 1000.0))
    assert found == {"ADA": pytest.approx(0.3)}


def test_a_symbol_is_of_the_worker_that_wrote_its_last_report() -> None:
    assert written_by(HISTORY, "w1") == {"ETH"}
    assert written_by(HISTORY, "w2") == {"ADA", "BTC"}


def test_a_gap_counts_if_it_touches_the_window_and_the_open_end_counts_too() -> None:
    gaps = longest_gaps(HISTORY, 10.05, 10.35)
    assert gaps == {
        "ADA": pytest.approx(0.2),
        "BTC": pytest.approx(1.1),  # begun before the window
        "ETH": pytest.approx(0.45),  # not over at its end
        "XRP": pytest.approx(0.3),  # never seen
    }


@pytest.mark.parametrize(("share", "expected"), [(0.5, 10), (0.95, 19), (0.99, 20), (1.0, 20)])
def test_percentiles_are_by_nearest_rank(share: float, expected: float) -> None:
    assert percentile([float(value) for value in range(20, 0, -1)], share) == expected


def test_a_change_counts_with_its_slowest_symbol_movers_and_stayers_apart() -> None:
    change = Change({"ADA": 0.3, "BTC": 0.9, "ETH": 0.2}, {"ADA", "ETH"})
    assert (change.worst, change.worst_of(moved=True), change.worst_of(moved=False)) == (0.9, 0.3, 0.9)
    assert Change({"ADA": 0.3}, {"ADA"}).worst_of(moved=False) is None


@pytest.mark.parametrize(("second", "verdict"), [(0.4, "all"), (0.9, "1 of 2"), (2.1, "beyond 2 s")])
def test_the_verdict_is_on_the_worst(second: float, verdict: str) -> None:
    changes = [Change({"ADA": seconds}, {"ADA"}) for seconds in (0.3, second)]
    (cell,) = table([Measured("join", 16, "longest gap", 0.4, changes, 0.1, 0.02)]).columns[-2].cells
    assert verdict in str(cell)


def test_only_what_is_between_the_markers_is_replaced(tmp_path: Path) -> None:
    document = tmp_path / "performance.md"
    document.write_text(f"above\n{BEGIN}\nold\n{END}\nbelow\n", encoding="utf-8")
    write_between_markers(document, "new")
    write_between_markers(document, "newer")
    assert document.read_text(encoding="utf-8") == f"above\n{BEGIN}\nnewer\n{END}\nbelow\n"


def test_a_document_without_markers_is_refused_and_left_alone(tmp_path: Path) -> None:
    document = tmp_path / "performance.md"
    document.write_text("above\n", encoding="utf-8")
    with pytest.raises(StackError, match=r"performance\.md needs the lines"):
        write_between_markers(document, "new")
    assert document.read_text(encoding="utf-8") == "above\n"


@pytest.mark.parametrize("arguments", [["--only", "kill-16,nap"], ["--times", "0"]])
def test_a_wrong_option_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(arguments)
    assert "there is no part nap" in (told := capsys.readouterr().err) or "at least 1" in told
