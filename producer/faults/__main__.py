"""`context8 faults`, or `python -m producer.faults`: every fault against our client and the stock one.

Prints a Markdown table, and with `--write FILE` puts it between the markers in that file, so that the figures of
docs/producer.md come from a run. Ours has the timings of production; the stock client has its own.
"""

import argparse
import sys
from pathlib import Path
from typing import Final

from producer.faults.adapters import Ours, Stock
from producer.faults.cases import CASES, Case
from producer.faults.trial import Outcome, run_trial
from producer.timing import Timing

HELP: Final = "hold the producer's client and the stock one to every fault, and print both columns"
BEGIN: Final = "<!-- python -m producer.faults -->"
END: Final = "<!-- end -->"
SEED: Final = 7
LIMIT: Final = 20.0
_STILL: Final = 2.0

_HEAD: Final = (
    "| fault | producer: book unknown, right again after | wrong states | stock adapter | wrong states |\n"
    "|---|---|---|---|---|\n"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--write", type=Path, metavar="FILE", help=f"put the table between {BEGIN} and {END}")
    parser.add_argument("--only", metavar="TEXT", default="", help="only faults whose name contains this")


def run(args: argparse.Namespace) -> int:
    """Run the matrix; return 0 if our column is as it must be, 1 if not, 2 for arguments that are not allowed."""
    names = [case.name for case in CASES if args.only in case.name]
    problem = ""
    if args.only and args.write:
        problem = "--only with --write would leave the other rows out"
    elif not names:
        problem = f"--only {args.only!r} is in no fault's name; these are {', '.join(case.name for case in CASES)}"
    elif args.write and not args.write.is_file():
        problem = f"--write {args.write}: no such file"
    if problem:
        print(f"context8 faults: {problem}", file=sys.stderr)
        return 2
    import uvloop

    rows, good = uvloop.run(_matrix(args.only))
    table = _HEAD + "".join(rows)
    print(table)
    if args.write:
        args.write.write_text(put_between(args.write.read_text(), table))
    return 0 if good else 1


async def _matrix(only: str) -> tuple[list[str], bool]:
    rows, good = [], True
    for case in CASES:
        if only not in case.name:
            continue
        ours = await run_trial(case, lambda judge: Ours(judge, Timing()), SEED, LIMIT)
        stock = None if case.tickers_only else await run_trial(case, Stock, SEED, LIMIT)
        good = good and ours.recovered is not None and (case.doubtful or not ours.verdict.wrong)
        rows.append(row(case, ours, stock))
        print(rows[-1], end="", file=sys.stderr, flush=True)
    return rows, good


def row(case: Case, ours: Outcome, stock: Outcome | None) -> str:
    """Return one line of the table."""
    theirs = ("does not use it", "") if stock is None else (_fate(stock), _wrong(stock))
    return f"| {case.name} | {_fate(ours)} | {_wrong(ours)} | {theirs[0]} | {theirs[1]} |\n"


def put_between(text: str, table: str) -> str:
    """Return `text` with `table` between the markers.

    Raises:
        ValueError: a marker is missing.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no line {BEGIN} and {END} in the file")
    return f"{before}{BEGIN}\n{table}{END}{after}"


def _fate(outcome: Outcome) -> str:
    if outcome.recovered is None:
        if not outcome.verdict.known:
            return "**unknown for ever**" if outcome.told is not None else "**never begins**"
        return "**stands still for ever**" if outcome.stood_still > _STILL else "**wrong for ever**"
    if outcome.told is None:
        return "not disturbed" if not outcome.verdict.wrong else f"right again after {outcome.recovered:.1f} s"
    return f"{outcome.told:.1f} s, {outcome.recovered:.1f} s"


def _wrong(outcome: Outcome) -> str:
    verdict = outcome.verdict
    return f"{verdict.wrong} of {verdict.states}"


if __name__ == "__main__":
    _parser = argparse.ArgumentParser(prog="python -m producer.faults", description=HELP)
    add_arguments(_parser)
    sys.exit(run(_parser.parse_args()))
