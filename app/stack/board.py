"""Reports on the terminal: a live table of them, and the demo's summary at its end."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from app.stack.samples import Samples  # brings NumPy, which watching a reader does not need

_NUMBERS = ("symbol", "bid", "ask", "bps", "imb.", "trades/s", "flow", "age ms")
_STATUS_STYLE = {"ok": "green", "degraded": "yellow", "down": "red"}


class HasLatest(Protocol):
    """Whatever knows the newest report of a symbol, `None` if there is none."""

    @property
    def latest(self) -> dict[str, Any] | None:
        """The report."""


class Seen(NamedTuple):
    """A report by itself."""

    latest: dict[str, Any] | None


def live_table(samples: Mapping[str, HasLatest]) -> Table:
    """Return the newest report of each symbol as a table that fits into 80 columns."""
    table = Table(box=None, padding=(0, 1, 0, 0))
    for heading in _NUMBERS:
        table.add_column(heading, justify="left" if heading == "symbol" else "right", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("writer", overflow="fold")  # the only one that may give way: its numbers can be long
    for symbol, sample in samples.items():
        table.add_row(symbol, *(_cells(sample.latest) if sample.latest else ["…"]))
    return table


def summary_table(samples: Mapping[str, "Samples"]) -> Table:
    """Return the figures of each symbol as a table."""
    table = Table(title="summary", title_justify="left")
    table.add_column("symbol")
    for heading in ("reports", "reports/s", "data_age P50 ms", "data_age P95 ms", "gaps"):
        table.add_column(heading, justify="right")
    for symbol, sample in samples.items():
        figures = sample.figures()
        gaps = sample.latest["provenance"]["gap_count"] if sample.latest else None
        table.add_row(
            symbol,
            str(figures.reports),
            _number(figures.per_second, 1),
            _number(figures.age_p50_ms, 0),
            _number(figures.age_p95_ms, 0),
            _number(gaps, 0),
        )
    return table


def _cells(report: dict[str, Any]) -> list[str]:
    status = report["ingestion"]["status"]
    health = f"[{_STATUS_STYLE[status]}]{'stale' if report['ingestion']['stale'] else status}"
    return [
        _level(report["best_bid"]),
        _level(report["best_ask"]),
        _number(report["spread_bps"], 3),
        _number(report["depth"]["imbalance"], 2),
        _number(report["flow"]["orders_per_sec"], 1),
        _number(report["flow"]["net_flow"], 2),
        str(report["data_age_ms"]),
        health if report["provenance"]["book_ok"] else "[red]resync",
        escape(f"{report['writer']['nodeId']} #{report['writer']['writerToken']}"),
    ]


def _level(level: dict[str, float] | None) -> str:
    return f"{level['price']:.10g}" if level else "–"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"
