"""`context8 plot`: a file of reports as pictures, a PNG and a web page for each symbol."""

import argparse
import sys
from pathlib import Path
from typing import Final

HELP: Final = "draw reports over time, as PNG and as a web page"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("reports", type=Path, metavar="FILE", help="reports.parquet or reports.jsonl")
    parser.add_argument(
        "--out", type=Path, metavar="DIR/NAME", help="where to, without extension (default: beside FILE, with its name)"
    )
    parser.add_argument("--symbol", metavar="SYMBOL", help="draw only this one (default: all in the file)")


def run(args: argparse.Namespace) -> int:
    """Write the pictures and name them; return 0, or 2 with one line that says what is wrong."""
    from app.plot.reading import PlotError

    try:
        for path in _draw(args.reports, args.out or args.reports.with_suffix(""), args.symbol):
            print(path)
    except PlotError as error:
        print(f"context8 plot: {error}", file=sys.stderr)
        return 2
    return 0


def _draw(reports: Path, out: Path, only: str | None) -> list[Path]:
    from app.plot import html, png
    from app.plot.reading import PlotError, read
    from app.plot.series import series, symbols

    if not out.parent.is_dir():
        raise PlotError(f"--out {out}: there is no folder {out.parent}")
    table = read(reports)
    chosen = [only] if only else symbols(table)
    drawn = []
    for symbol in chosen:
        name = out.name if len(chosen) == 1 else f"{out.name}-{symbol}"
        shown = series(table, symbol)
        for picture, extension in ((png, "png"), (html, "html")):
            path = out.with_name(f"{name}.{extension}")
            try:
                picture.write(shown, path)
            except OSError as error:
                raise PlotError(f"{path}: {error.strerror or error}") from None
            drawn.append(path)
    return drawn
