"""How long nobody reports a symbol while its partition changes hands: `make bench-failover`.

Two workers share the symbols under a steady load, and then something befalls one of them, again and again. A thread
looks at the reports in Redis every 5 ms. Two times are measured:

- *until fresh*: from the kill, or from the stop of a worker that hangs, until every symbol that this worker had has a
  report that is newer and from another worker;
- *longest gap*: between two reports of any symbol, while a worker joins, leaves or is started again. A symbol that
  nothing happens to has gaps of one fast cycle, 0.25 s.

A change of hands counts with the symbol that waited longest. Percentiles over the changes are by nearest rank; with 20
of them or fewer P99 is the worst.

    PYTHONPATH=.:tests python -m benchmarks.failover [--times 3] [--only kill-16,hang] [--write docs/performance.md]
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from app.stack.errors import StackError
from app.stack.kafka import KafkaBroker
from app.stack.redis import RedisServer
from benchmarks.failover_ground import Ground, Scene, Window
from benchmarks.failover_result import (
    Change,
    Measured,
    Outcome,
    machine,
    markdown,
    require_markers,
    table,
    write_between_markers,
)
from benchmarks.failover_watch import Moment, longest_gaps, written_by
from benchmarks.throughput import ROOT

_FRESH, _GAP = "until fresh", "longest gap"

Changes = Iterator[tuple[str, Change]]
"""The name of a measurement and one change of hands for it."""


class Part(msgspec.Struct, frozen=True):
    """Something that befalls workers; `act` does it once, and `names` are the measurements that this yields."""

    names: tuple[str, ...]
    what: str
    aim_sec: float
    times: int
    act: Callable[[Ground, int], Changes]
    scene: Scene = Scene()


def kill(ground: Ground, number: int) -> Changes:
    """Kill the older and the newer worker by turns, and start another in its place."""
    victim = ground.workers.pop(number % 2)
    had, pid, since = written_by(ground.watch.history, victim.name), victim.working_pid, Moment.now()
    os.kill(pid, signal.SIGKILL)
    try:
        yield "kill -9", Change(ground.until_fresh(had, victim, since), had, since.unix_ms)
    finally:
        victim.kill()
    ground.add_worker()


def hang(ground: Ground, number: int) -> Changes:
    """Let the older and the newer worker hang by turns, then go on, so that it joins again."""
    victim = ground.workers[number % 2]
    had = written_by(ground.watch.history, victim.name)
    victim.pause()
    since = Moment.now()
    try:
        yield "hang", Change(ground.until_fresh(had, victim, since), had, since.unix_ms)
    finally:
        victim.resume()
    ground.settle()


def join_and_leave(ground: Ground, _: int) -> Changes:
    """Let a third worker join, then the oldest leave."""
    with ground.window() as window:
        ground.add_worker()
    yield "join", _gaps(ground, window)
    with ground.window() as window:
        ground.stop(ground.workers.pop(0))
        ground.settle()
    yield "leave", _gaps(ground, window)


def rolling_restart(ground: Ground, _: int) -> Changes:
    """Stop and start each worker, one after the other."""
    with ground.window() as window:
        for worker in ground.workers:
            ground.stop(worker)
            worker.start()
            ground.settle()
    window.moved = set(ground.watch.history)  # each was on a worker that was stopped
    yield "rolling restart", _gaps(ground, window)


PARTS = {
    "kill-16": Part(("kill -9",), _FRESH, 0.5, 20, kill),
    "kill-100": Part(("kill -9",), _FRESH, 0.5, 20, kill, Scene(symbols=100, rate=10.0)),
    "kill-500": Part(("kill -9",), _FRESH, 0.5, 10, kill, Scene(symbols=500, rate=2.0)),
    "hang": Part(("hang",), _FRESH, 1.3, 10, hang, Scene(session_timeout_ms=1000)),
    "join-leave": Part(("join", "leave"), _GAP, 0.4, 10, join_and_leave),
    "rolling": Part(("rolling restart",), _GAP, 0.4, 10, rolling_restart),
}


def _gaps(ground: Ground, window: Window) -> Change:
    gaps = longest_gaps(ground.watch.history, window.begin.monotonic, window.end)
    return Change(gaps, window.moved, window.begin.unix_ms)


def measure(name: str, part: Part, ground: Ground, note: Callable[[str], None]) -> list[Measured]:
    """Do one part on its ground; `note` hears of each repetition.

    Raises:
        StackError: a process failed, or something did not come about within its limit.
    """
    changes: dict[str, list[Change]] = {each: [] for each in part.names}
    with ground:
        for number in range(part.times):
            ground.watch.forget()
            for what, change in part.act(ground, number):
                changes[what].append(change)
            note(f"{name}, last {', '.join(f'{each[-1].worst:.2f}' for each in changes.values())} s")
    watch, symbols = ground.watch, part.scene.symbols
    return [
        Measured(what, symbols, part.what, part.aim_sec, found, watch.cpu_share, watch.longest_pause)
        for what, found in changes.items()
    ]


def _show(progress: Progress, task: TaskID, text: str) -> None:
    progress.update(task, advance=1, description=text)


def measure_all(parts: dict[str, Part], folder: Path, console: Console) -> Outcome:
    """Do all parts; one that fails does not keep the others from being measured."""
    began, load_before = time.monotonic(), os.getloadavg()[0]
    measured: list[Measured] = []
    failures: dict[str, str] = {}
    columns = (TextColumn("{task.description:32}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with ExitStack() as stack:
        kafka = stack.enter_context(KafkaBroker(folder / "kafka"))
        redis = stack.enter_context(RedisServer(folder / "redis"))
        progress = stack.enter_context(Progress(*columns, console=console))
        for name, part in parts.items():
            task = progress.add_task(name, total=part.times)
            ground = Ground(part.scene, name, kafka.bootstrap, redis.url, folder)
            try:
                measured += measure(name, part, ground, partial(_show, progress, task))
            except StackError as error:
                failures[name] = str(error)
                progress.update(task, description=f"{name}, failed")
    return Outcome(machine(_command(parts), load_before), measured, failures, time.monotonic() - began)


def _command(parts: dict[str, Part]) -> str:
    """Return what to call to measure the same."""
    options = [] if list(parts) == list(PARTS) else ["--only", ",".join(parts)]
    if [part.times for part in parts.values()] != [PARTS[name].times for name in parts]:
        options += ["--times", str(next(iter(parts.values())).times)]
    return "make bench-failover" + (f' ARGS="{" ".join(options)}"' if options else "")


def parse(arguments: list[str]) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(
        prog="bench-failover", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, help="repetitions of each part, by default 20 kills and 10 of all else")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas: %(default)s")
    parser.add_argument(
        "--json",
        type=Path,
        default=ROOT / ".cache" / "failover.json",
        help="file for every figure, by default .cache/failover.json",
    )
    parser.add_argument("--write", type=Path, help="document between whose markers the table goes")
    parser.add_argument("--folder", type=Path, help="keep the logs of all processes there")
    options = parser.parse_args(arguments)
    if unknown := set(options.only.split(",")) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}: parts are {', '.join(PARTS)}")
    if options.times is not None and options.times < 1:
        parser.error(f"--times {options.times}: at least 1")
    return options


def main() -> int:
    """Run as a script."""
    options = parse(sys.argv[1:])
    console = Console()
    if not console.is_terminal:
        console = Console(width=140)
    chosen = {name: part for name, part in PARTS.items() if name in options.only.split(",")}
    if options.times:
        chosen = {name: msgspec.structs.replace(part, times=options.times) for name, part in chosen.items()}
    try:
        if options.write:
            require_markers(options.write)
        with tempfile.TemporaryDirectory(prefix="context8-failover-") as name:
            outcome = measure_all(chosen, options.folder or Path(name), console)
    except StackError as error:
        print(f"bench-failover: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    options.json.write_bytes(msgspec.json.format(msgspec.json.encode(outcome, order="deterministic")))
    console.print(table(outcome.measured))
    before, after = outcome.machine.load
    console.print(f"{outcome.seconds:.0f} s; load average {before:.1f} before, {after:.1f} after", highlight=False)
    for part, failure in outcome.failures.items():
        print(f"bench-failover: {part}: {failure}", file=sys.stderr)
    if options.write and not outcome.failures:
        write_between_markers(options.write, markdown(outcome))
    return 1 if outcome.failures else 0


if __name__ == "__main__":
    sys.exit(main())
