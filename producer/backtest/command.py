"""`context8 backtest`: recorded data through the live actor and engine, a report at every as-of time."""

import argparse
import gc
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from producer.backtest.source import Source

HELP: Final = "compute reports from recorded data, as the live system would"

_UNITS_MS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
_LONGEST_MS: Final = 24 * _UNITS_MS["h"]
_EVERY_ALLOWED: Final = "a whole number and ms, s, m or h, such as 250ms or 1s, at most 24h"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments; `run` checks them, so that a bad one is told in one line."""
    parser.add_argument("--tape", type=Path, nargs="+", metavar="FILE", help="files of one recording, gzipped or not")
    parser.add_argument(
        "--catalog", type=Path, metavar="DIR", help="a NautilusTrader Parquet catalog in place of a tape"
    )
    parser.add_argument(
        "--every", default="1s", metavar="TIME", help=f"between two reports: {_EVERY_ALLOWED} (default: %(default)s)"
    )
    parser.add_argument(
        "--out", type=Path, default="reports.jsonl", metavar="FILE", help=".jsonl or .parquet (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Write the reports; return 0, or 2 with one line that says what is wrong."""
    from app.params import engine_params
    from app.settings import SettingsError, load
    from producer.backtest import output
    from producer.backtest.run import backtest
    from producer.backtest.source import BacktestError
    from producer.exchange.tape import TapeError

    started = time.perf_counter()
    try:
        every_ns = _nanoseconds(args.every)
        output.check(args.out)
        settings = load()
        params = engine_params(settings)
        with _progress() as total_and_advance:
            set_total, advance = total_and_advance
            source = _source(args)
            set_total(source.extent.messages)
            gc.freeze()  # or each collection walks through all that was imported: a tenth of the time
            done = backtest(source, every_ns, params, args.out, advance)
    except (BacktestError, TapeError, SettingsError) as error:
        print(f"context8 backtest: {error}", file=sys.stderr)
        return 2
    seconds = time.perf_counter() - started
    reports = ", ".join(f"{count:,} reports of {symbol}" for symbol, count in done.reports.items())
    print(
        f"{args.out}: {reports}, {args.out.stat().st_size / 1e6:.1f} MB; "
        f"{done.events:,} events in {seconds:.1f} s, {done.events / seconds:,.0f} events/s"
    )
    return 0


def _source(args: argparse.Namespace) -> "Source":
    from producer.backtest.source import BacktestError

    if bool(args.tape) == bool(args.catalog):
        raise BacktestError("give either --tape FILE… or --catalog DIR")
    if args.tape:
        from producer.backtest.tape import TapeSource

        return TapeSource(args.tape)
    from producer.backtest.catalog import CatalogSource

    source = CatalogSource(args.catalog)
    if source.left_out:
        print(f"not read, since not of Binance Spot: {', '.join(sorted(source.left_out))}", file=sys.stderr)
    return source


def _nanoseconds(every: str) -> int:
    from producer.backtest.source import NANOS_PER_MS, BacktestError

    match = re.fullmatch(r"([0-9]{1,9})(ms|s|m|h)", every)
    ms = int(match[1]) * _UNITS_MS[match[2]] if match else 0
    if not 0 < ms <= _LONGEST_MS:
        raise BacktestError(f"--every {every} is not allowed: {_EVERY_ALLOWED}")
    return ms * NANOS_PER_MS


@contextmanager
def _progress() -> Iterator[tuple[Callable[[int], None], Callable[[int], None]]]:
    """Show a bar on a terminal; give a function that sets the total and one that advances."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task("reading", total=None)
        yield (
            lambda total: bar.update(task, description="replaying", total=total),
            lambda count: bar.update(task, advance=count),
        )
