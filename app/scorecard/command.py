"""`context8 scorecard`: inject patterns of known truth, and score what the detectors say."""

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from app.scorecard.score import Outcome
    from app.scorecard.trials import Job, MakeWatcher

HELP: Final = "inject patterns of known truth into market data and score the detectors"

_SEEDS_ALLOWED: Final = "a number or a range such as 1000-1023, within 0 to 999999"
_MOST_SEEDS: Final = 1000
_SHORTEST_SEC: Final = 120.0


class _UsageError(ValueError):
    """One line that names the argument and what is allowed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments; `run` checks them, so that a bad one is told in one line."""
    parser.add_argument(
        "--seeds",
        default="1000-1059",
        metavar="A-B",
        help=f"{_SEEDS_ALLOWED} (default: %(default)s; 0-39 are for tuning)",
    )
    parser.add_argument("--tape", type=Path, nargs="+", default=[], metavar="FILE", help="also use this recording")
    parser.add_argument(
        "--seconds", type=float, default=600.0, help="length of each synthetic market (default: %(default)s)"
    )
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: %(default)s)")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="a .json, or a .md in which the tables replace what stands between the markers (default: the terminal)",
    )


def run(args: argparse.Namespace) -> int:
    """Run the trials and write the scorecard; return 0, or 2 with one line that says what is wrong."""
    from app.scorecard import document
    from app.scorecard.product import make_watcher
    from app.scorecard.summary import scorecard
    from app.scorecard.trials import jobs
    from producer.exchange.tape import TapeError

    try:
        seeds = _seeds(args.seeds)
        _check(args)
        todo = jobs(seeds, args.tape, args.seconds)
        card = scorecard(list(_with_progress(_outcomes(todo, make_watcher, args.jobs), len(todo))), seeds)
    except (_UsageError, TapeError) as error:
        print(f"context8 scorecard: {error}", file=sys.stderr)
        return 2
    if args.out is None:
        print(document.to_markdown(card))
    else:
        document.write(args.out, card)
    return 0


def _outcomes(todo: Sequence["Job"], make_watcher: "MakeWatcher", processes: int) -> Iterator[list["Outcome"]]:
    """Yield the outcomes of each job, in order, so that sums come out the same to the last digit."""
    from app.scorecard.trials import run as run_job

    work = partial(run_job, make_watcher=make_watcher)
    if processes == 1:
        yield from map(work, todo)
        return
    # Not forked: the progress bar has a thread.
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        yield from pool.map(work, todo)


def _with_progress(batches: Iterator[list["Outcome"]], total: int) -> Iterator["Outcome"]:
    """Yield the outcomes one by one, with a bar on a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    for batch in track(
        batches, "injecting and watching", total, console=console, transient=True, disable=not console.is_terminal
    ):
        yield from batch


def _seeds(text: str) -> range:
    match = re.fullmatch(r"([0-9]{1,6})(?:-([0-9]{1,6}))?", text)
    seeds = range(int(match[1]), int(match[2] or match[1]) + 1) if match else range(0)
    if not 0 < len(seeds) <= _MOST_SEEDS:
        raise _UsageError(f"--seeds {text} is not allowed: {_SEEDS_ALLOWED}, at most {_MOST_SEEDS} of them")
    return seeds


def _check(args: argparse.Namespace) -> None:
    if not _SHORTEST_SEC <= args.seconds <= 86_400:
        raise _UsageError(f"--seconds {args.seconds:g} is not allowed: {_SHORTEST_SEC:g} to 86400")
    if not 1 <= args.jobs <= 64:
        raise _UsageError(f"--jobs {args.jobs} is not allowed: 1 to 64")
    if args.out is not None and args.out.suffix not in (".json", ".md"):
        raise _UsageError(f"--out {args.out} is not allowed: a name that ends in .json or .md")
    if args.out is not None and not args.out.parent.is_dir():
        raise _UsageError(f"--out {args.out} is not allowed: a file in a folder that exists")
