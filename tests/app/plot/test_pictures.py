"""The pictures are made from every kind of report; what they look like is for people to judge."""

import json
import re
import struct
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from app.microstructure.report import Report
from app.plot import html, png, style
from app.plot.series import Series, series
from app.plot.table import batch

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def of(reports: list[Report]) -> Series:
    return series(pa.Table.from_batches([batch(reports)]), "BTCUSDT")


def figure(page: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return traces and layout of the figure in a page."""
    call = page[page.rindex("Plotly.newPlot(") :]
    decoder = json.JSONDecoder()
    traces, end = decoder.raw_decode(call, call.index("["))
    layout, _ = decoder.raw_decode(call, call.index("{", end))
    return traces, layout


@pytest.mark.parametrize("how_many", [1, 40])
@pytest.mark.parametrize("known", [True, False])
def test_a_png_is_made_whatever_is_known(
    reports: list[Report], unknown_reports: list[Report], tmp_path: Path, how_many: int, known: bool
) -> None:
    png.write(of((reports if known else unknown_reports)[:how_many]), tmp_path / "picture.png")
    body = (tmp_path / "picture.png").read_bytes()
    assert body.startswith(PNG_SIGNATURE)
    assert struct.unpack(">II", body[16:24]) == tuple(round(inches * png.DPI) for inches in png.SIZE_INCHES)


def test_a_page_holds_every_trace_and_loads_nothing(reports: list[Report], tmp_path: Path) -> None:
    html.write(of(reports), tmp_path / "picture.html")
    page = (tmp_path / "picture.html").read_text()
    assert not re.search(r'<(script|link|img)[^>]+(src|href)="', page)
    traces, layout = figure(page)
    names = {trace.get("name") for trace in traces}
    assert {"bid", "ask", "mid", "micro", "POC", "value area", "bid wall", "vacuum"} <= names
    assert {"spread", "imbalance", "trades/s", "net flow", "health", "spoofing", "flash crash risk"} <= names
    assert layout["title"]["text"] == "BTCUSDT   2024-08-08 23:54:15 to 23:54:54 UTC"


@pytest.mark.parametrize("how_many", [1, 40])
def test_a_page_says_what_is_not_known(unknown_reports: list[Report], tmp_path: Path, how_many: int) -> None:
    html.write(of(unknown_reports[:how_many]), tmp_path / "picture.html")
    _, layout = figure((tmp_path / "picture.html").read_text())
    assert f"<i>{style.NOT_KNOWN}</i>" in {each["text"] for each in layout["annotations"]}


def test_the_time_without_a_book_is_shaded_in_every_panel(reports: list[Report], tmp_path: Path) -> None:
    html.write(of(reports), tmp_path / "picture.html")
    _, layout = figure((tmp_path / "picture.html").read_text())
    assert len(layout["shapes"]) == len(style.PANELS)


def test_a_title_names_both_days_and_says_that_lines_are_thinned(reports: list[Report]) -> None:
    shown = of(reports)
    longer = type(shown)(**{name: getattr(shown, name) for name in shown.__struct_fields__} | {"every_nth": 4})
    assert style.title(longer).endswith("23:54:54 UTC; lines show every 4th report")
