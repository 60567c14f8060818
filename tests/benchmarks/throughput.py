"""Our worker beside stock Faust, Quix Streams and the bare engine, in one run: `make bench-throughput`.

A topic of a real Kafka is filled once with the recorded tape under many names. Then every contender works through all
of it from its beginning, in rounds in which they take turns, so that a slow minute of the machine hits all of them.
What counts is the time from the first event to the last. The machine's other work shows less in CPU time, which is
given too. In the end all engines of all contenders must hold the same state, byte for byte.

    PYTHONPATH=.:tests python -m benchmarks.throughput [--symbols 16] [--laps 2] [--rounds 3] [--only ours,memory]
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import redis
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from agents.intake import home_partition
from app import topics
from app.settings import Settings
from app.stack.errors import StackError
from app.stack.kafka import KafkaBroker
from app.stack.process import Child
from app.stack.redis import RedisServer
from benchmarks import throughput_worker

ROOT = Path(__file__).parents[2]
BENCH_PYTHON = ROOT / ".venv-bench" / "bin" / "python"
TOPIC = "bench.events"
CONTENDERS = {
    "ours": "(a) our worker",
    "faust": "(b) stock Faust",
    "quix": "(c) Quix Streams",
    "memory": "(d) engine from memory",
}
AIMS = (("faust", 5.0), ("quix", 1.5), ("memory", 0.8))
_LIMIT_SEC = 900.0


class Bench:
    """One filled topic, and the runs over it."""

    def __init__(self, kafka: KafkaBroker, redis_url: str, symbols: list[str], folder: Path) -> None:
        self._brokers = kafka.bootstrap
        self._redis_url = redis_url
        self._symbols = symbols
        self._folder = folder
        self.events = 0

    def settings(self, group: str) -> Settings:
        """Return what differs from a plain worker's settings: addresses, names, partitions."""
        return Settings(
            kafka_brokers=self._brokers,
            redis_url=self._redis_url,
            events_topic=TOPIC,
            worker_group=group,
            events_partitions=len(self._symbols),
            # Slow cycles also while there is a backlog, so that every metric is computed as often as for the others.
            slow_lag_events=10_000_000,
        )

    def fill(self, laps: int) -> None:
        """Fill the topic."""
        asyncio.run(topics.ensure(self.settings("fill")))
        result = self._child("fill", BENCH_PYTHON, symbols=self._symbols, laps=laps)
        self.events = result["events"]

    def run(self, contender: str, number: int, note: Callable[[int], None]) -> dict[str, Any]:
        """Let one contender work through the topic."""
        group = f"{contender}-{number}"
        if contender == "ours":
            with redis.Redis.from_url(self._redis_url) as client:
                client.flushall()
            return throughput_worker.measure(self.settings(group), self._symbols, self.events, self._folder, note)
        python = BENCH_PYTHON if contender == "quix" else Path(sys.executable)
        return self._child(contender, python, group=group)

    def _child(self, name: str, python: Path, group: str = "", **more: Any) -> dict[str, Any]:
        result = self._folder / f"{group or name}.json"
        data = self._folder / f"{group or name}-data"
        data.mkdir()
        options = {
            "brokers": self._brokers,
            "topic": TOPIC,
            "partitions": len(self._symbols),
            "events": self.events,
            "group": group,
            "folder": str(data),
            "result": str(result),
            **more,
        }
        command = [str(python), "-m", f"benchmarks.throughput_{name}", json.dumps(options)]
        env = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
        with Child(name, command, log=self._folder / f"{group or name}.log", env=env, cwd=self._folder) as child:
            child.wait_ready(result.exists, _LIMIT_SEC)
        return dict(json.loads(result.read_text(encoding="utf-8")))


def one_symbol_a_partition(count: int) -> list[str]:
    """Return names of which each has a partition of its own."""
    names: dict[int, str] = {}
    number = 0
    while len(names) < count:
        name = f"BENCH{number}USDT"
        names.setdefault(home_partition(name, count), name)
        number += 1
    return sorted(names.values())


def measure(count: int, laps: int, rounds: int, contenders: list[str], console: Console) -> dict[str, list[Any]]:
    """Return the results of every contender's rounds.

    Raises:
        StackError: something did not start, was too slow, or did not end in the same state.
    """
    results: dict[str, list[Any]] = {contender: [] for contender in contenders}
    with tempfile.TemporaryDirectory(prefix="context8-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        kafka = stack.enter_context(KafkaBroker(folder / "kafka"))
        server = stack.enter_context(RedisServer(folder / "redis"))
        bench = Bench(kafka, server.url, one_symbol_a_partition(count), folder)
        columns = (TextColumn("{task.description:24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        progress = stack.enter_context(Progress(*columns, console=console))
        filling = progress.add_task("filling the topic", total=1)
        bench.fill(laps)
        progress.update(filling, completed=1)
        for number in range(1, rounds + 1):
            for contender in contenders:
                task = progress.add_task(f"{number}: {CONTENDERS[contender]}", total=bench.events)
                result = bench.run(contender, number, partial(_show, progress, task))
                progress.update(task, completed=bench.events)
                results[contender].append(result)
                _require_equal(results)
    return results


def _show(progress: Progress, task: TaskID, so_far: int) -> None:
    progress.update(task, completed=so_far)


def _require_equal(results: dict[str, list[Any]]) -> None:
    every = [(contender, result["states"]) for contender, runs in results.items() for result in runs]
    first, states = every[0]
    for contender, others in every[1:]:
        if others != states:
            different = sorted(name for name in states | others if states.get(name) != others.get(name))
            raise StackError(f"{contender} and {first} ended in different states of {', '.join(different)}")


def show(results: dict[str, list[Any]], console: Console) -> None:
    """Print the table and the ratios."""
    table = Table("contender", "events/s", "events/s of each round", "µs of CPU an event", "one core's share")
    rates, cpu = {}, {}
    for contender, runs in results.items():
        rates[contender] = statistics.median(run["events"] / run["seconds"] for run in runs)
        cpu[contender] = statistics.median(run["cpu"] / run["events"] * 1e6 for run in runs)
        each = ", ".join(f"{run['events'] / run['seconds']:,.0f}" for run in runs)
        share = statistics.median(run["cpu"] / run["seconds"] for run in runs)
        table.add_row(CONTENDERS[contender], f"{rates[contender]:,.0f}", each, f"{cpu[contender]:.1f}", f"{share:.0%}")
    console.print(table)
    for other, aim in AIMS:
        if "ours" in rates and other in rates:
            ratio, by_cpu = rates["ours"] / rates[other], cpu[other] / cpu["ours"]
            verdict = "[green]reached[/]" if ratio >= aim else "[red]missed[/]"
            console.print(
                f"(a) is {ratio:.2f} × {CONTENDERS[other]} ({by_cpu:.2f} × by CPU); aim {aim:g} ×: {verdict}",
                highlight=False,
            )


def main() -> int:
    """Run as a script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--symbols", type=int, default=16)
    parser.add_argument("--laps", type=int, default=2, help="times through the tape; one is 16,940 events a symbol")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default=",".join(CONTENDERS), help="contenders, separated by commas")
    parser.add_argument("--json", type=Path, help="file for every figure")
    options = parser.parse_args()
    console, began = Console(), time.monotonic()
    if not console.is_terminal:
        console = Console(width=120)
    try:
        chosen = [name for name in CONTENDERS if name in options.only.split(",")]
        results = measure(options.symbols, options.laps, options.rounds, chosen, console)
    except StackError as error:
        print(f"bench-throughput: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if options.json:
        options.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
    console.print(
        f"{options.symbols} symbols, {options.laps} laps, {options.rounds} rounds; Python {platform.python_version()}, "
        f"{os.cpu_count()} cores; took {time.monotonic() - began:.0f} s",
        highlight=False,
    )
    show(results, console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
