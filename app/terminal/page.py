"""One report as a page for the terminal: its line of the live table, the book, and what was found in it."""

from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from app.stack.board import Seen, live_table

_LEVELS: Final = 10
_BAR: Final = 16


def page(report: dict[str, Any]) -> RenderableType:
    """Return the report, in some 80 columns; texts of the report are shown as they are."""
    line = live_table({report["symbol"]: Seen(report)})
    halves = Table.grid(padding=(0, 2))
    halves.add_row(_book(report["depth"]), _facts(report))
    return Group(line, "", halves)


def _book(depth: dict[str, Any]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0))
    for heading in ("price", "quantity"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", width=_BAR, no_wrap=True)
    asks, bids = depth["top_asks"][:_LEVELS], depth["top_bids"][:_LEVELS]
    most = max((level["qty"] for level in asks + bids), default=0)
    for side, style in ((asks[::-1], "red"), (bids, "green")):
        for level in side:
            bar = "█" * round(_BAR * level["qty"] / most)
            table.add_row(f"{level['price']:.10g}", f"{level['qty']:.6g}", f"[{style}]{bar}")
        if style == "red":
            table.add_section()
    return table


def _facts(report: dict[str, Any]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    liquidity, provenance = report["liquidity"], report["provenance"]
    profile = liquidity["volume_profile"]
    rows = [
        ("micro price", _known(report["micro_price"])),
        ("profile", "POC {POC:.10g}  VAL {VAL:.10g}  VAH {VAH:.10g}".format(**profile) if profile else "not known"),
        ("walls", _listed(liquidity["walls"], "{side} {price:.10g} × {qty:.6g} ({severity})")),
        ("vacuums", _listed(liquidity["vacuums"], "{from:.10g} to {to:.10g} ({severity})")),
        ("anomalies", _listed(report["anomalies"], "{type} ({severity}): {note}")),
        ("health", _known(report["health"]["score"])),
        ("event", provenance["ts_event"]),
        ("from", f"partition {provenance['partition']}, offset {provenance['offset']}"),
        ("book", f"{'in sequence' if provenance['book_ok'] else 'broken'}, {provenance['gap_count']} gaps"),
    ]
    for name, text in rows:
        table.add_row(name, Text(text))
    return table


def _listed(found: list[dict[str, Any]] | None, form: str) -> str:
    if found is None:
        return "not known"
    return "\n".join(form.format(**each) for each in found) or "none"


def _known(value: float | None) -> str:
    return "not known" if value is None else f"{value:.10g}"
