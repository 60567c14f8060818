import io
from typing import Any

import pytest
from rich.console import Console

from app.stack.board import live_table, summary_table
from app.stack.samples import Samples


def report(updated_at: int, age_ms: int = 20, status: str = "ok") -> dict[str, Any]:
    return {
        "updatedAt": updated_at,
        "data_age_ms": age_ms,
        "ingestion": {"stale": False, "status": status, "last_event_age_ms": age_ms},
        "best_bid": {"price": 61837.63, "qty": 1.0},
        "best_ask": {"price": 61837.64, "qty": 1.0},
        "spread_bps": 0.0016,
        "depth": {"imbalance": -0.25},
        "flow": {"orders_per_sec": 191.5, "net_flow": -1234.5},
        "provenance": {"gap_count": 2, "book_ok": True},
        "writer": {"nodeId": "w1", "writerToken": 7},
    }


def test_nothing_seen_has_no_figures_and_is_in_trouble() -> None:
    samples = Samples()
    assert samples.figures().reports == 0
    assert samples.figures().age_p50_ms is None
    assert samples.trouble(0.0) == "no report came"


def test_the_same_report_seen_again_is_no_news() -> None:
    samples = Samples()
    for now in (0.0, 0.1, 0.2):
        samples.note(report(1), now)
    assert samples.figures().reports == 1
    assert samples.figures().per_second is None


def test_rate_and_percentiles_are_those_of_the_distinct_reports() -> None:
    samples = Samples()
    for number in range(5):
        samples.note(report(number, age_ms=10 * number), number / 4)
    figures = samples.figures()
    assert (figures.reports, figures.per_second) == (5, 4.0)
    assert (figures.age_p50_ms, figures.age_p95_ms) == (20.0, 38.0)


@pytest.mark.parametrize(
    ("status", "quiet", "trouble"),
    [("ok", 1.0, None), ("ok", 2.5, "no new report for 2.5 s"), ("down", 0.0, "ingestion is down")],
)
def test_a_symbol_is_in_trouble_when_reports_or_events_stop(status: str, quiet: float, trouble: str | None) -> None:
    samples = Samples()
    samples.note(report(1, status=status), 10.0)
    found = samples.trouble(10.0 + quiet)
    assert found == trouble if trouble is None else found is not None and found.startswith(trouble)


def test_the_tables_fit_into_a_terminal_of_80_columns_without_cutting_anything() -> None:
    samples = Samples()
    samples.note(report(1), 0.0)
    console = Console(width=80, record=True, file=io.StringIO())
    for table in (
        live_table({"BTCUSDT": samples, "ETHUSDT": Samples()}),
        summary_table({"BTCUSDT": samples}),
    ):
        console.print(table)
    text = console.export_text()
    for shown in ("61837.63", "61837.64", "0.002", "-0.25", "191.5", "-1,234.50", "w1 #7", "trades/s", "data_age P95"):
        assert shown in text
    assert "…" in text, "a symbol without a report shows that it is awaited"
    assert text.count("…") == 1
