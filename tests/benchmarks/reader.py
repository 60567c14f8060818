"""The reader beside the plain SDK server, in one run: `make bench-reader`, about eight minutes.

Both read one Redis, into which reports of ten symbols are written four times a second each. The load comes from a
process of its own on the same machine. Each figure is the median of several rounds, in which the servers take turns,
so that a slow minute of the machine hits both. Then whatever else a client asks for, at 100 callers, and then Redis is
brought into trouble (`reader_faults`).

    PYTHONPATH=.:tests python -m benchmarks.reader [--callers 100 --rounds 1] [--only speed] [--write docs/reader.md]
"""

import argparse
import asyncio
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console

from app.stack.errors import StackError
from app.stack.redis import RedisServer
from benchmarks import reader_faults
from benchmarks.reader_ground import PLAIN, READER, load, report, servers, written
from benchmarks.reader_load import KINDS, SYMBOLS
from benchmarks.reader_result import AT_CALLERS, MARKERS, NAMES, Conditions, Speed, Trouble, markdown, speed, what_with

PARTS = ("speed", "others", "faults")


async def measure_speed(folder: Path, options: argparse.Namespace, console: Console) -> list[Speed]:
    """Measure both servers at every number of callers, and the reader with what the plain server has not."""
    loads = [(callers, kind, (PLAIN, READER)) for callers in options.callers for kind in NAMES]
    others = [(AT_CALLERS, kind, (READER,)) for kind in KINDS if kind not in NAMES]
    chosen = [*(loads if "speed" in options.only else []), *(others if "others" in options.only else [])]
    found = []
    with RedisServer(folder / "redis") as redis, ExitStack() as stack:
        async with written(redis.url):
            addresses = servers(stack, redis.url, folder)
            for callers, kind, names in chosen:
                seen: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
                for _ in range(options.rounds):
                    for name in names:
                        seen[name].append(await load(addresses[name], kind, callers, options.seconds))
                for name, rounds in seen.items():
                    found.append(speed(callers, kind, name, rounds))
                    console.print(f"{callers:4} {kind:15} {name:10} {_said(found[-1])}", highlight=False)
    return found


def _said(each: Speed) -> str:
    return f"{each.per_sec:8,.0f} calls/s, p50 {each.p50_ms:.1f}, p99 {each.p99_ms:.1f} ms, {each.errors:g} errors"


async def measure(options: argparse.Namespace, console: Console) -> tuple[list[Speed], list[Trouble]]:
    """Do all parts that are asked for."""
    with tempfile.TemporaryDirectory(prefix="context8-reader-") as name:
        folder = Path(name)
        speeds = await measure_speed(folder, options, console) if {"speed", "others"} & set(options.only) else []
        troubles = []
        if "faults" in options.only:
            troubles = await reader_faults.measure(folder, options.rounds, console.print)
    return speeds, troubles


def parse(arguments: list[str]) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(
        prog="bench-reader", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="how long each load lasts: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured: %(default)s")
    parser.add_argument("--callers", type=_counts, default="1,10,100,500", help="at once: %(default)s")
    parser.add_argument("--only", type=_parts, default=",".join(PARTS), help="parts of it: %(default)s")
    parser.add_argument("--write", type=Path, help="document between whose markers the tables go")
    options = parser.parse_args(arguments)
    if options.write and set(options.only) != set(PARTS):
        parser.error("--write wants all parts: what is not measured would be gone from the document")
    return options


def _counts(text: str) -> list[int]:
    if not all(part.isdecimal() and int(part) > 0 for part in text.split(",")):
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed: whole numbers from 1, separated by commas")
    return [int(part) for part in text.split(",")]


def _parts(text: str) -> list[str]:
    if unknown := set(text.split(",")) - set(PARTS):
        raise argparse.ArgumentTypeError(f"there is no part {', '.join(sorted(unknown))}: parts are {', '.join(PARTS)}")
    return text.split(",")


def main() -> int:
    """Run as a script."""
    options = parse(sys.argv[1:])
    console = Console(width=160)
    try:
        if options.write:
            MARKERS.require(options.write)
        before = os.getloadavg()[0]
        speeds, troubles = asyncio.run(measure(options, console))
    except StackError as error:
        print(f"bench-reader: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    what = (
        f"medians of {options.rounds} rounds of {options.seconds:g} s, reports of {len(report(SYMBOLS[0])):,} bytes, "
        f"{len(SYMBOLS)} symbols, load generator on the same machine; {what_with()}"
    )
    arguments = [each for each in sys.argv[1:] if each != "--write" and each != str(options.write)]
    command = "make bench-reader" + (f' ARGS="{" ".join(arguments)}"' if arguments else "")
    text = markdown(Conditions(command, what, (before, os.getloadavg()[0])), speeds, troubles)
    print(f"\n{text}")
    if options.write:
        MARKERS.write(options.write, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
