"""Workers under a steady load, as users start them: `make bench-load`.

A generator, a process of its own, sends the recorded tape under many names with fresh event times. Measured are the
workers' CPU and memory from the kernel, the ages that reports carry from Redis, and the workers' own counters. In
the end every event sent must have been applied, and every book must be whole.

    PYTHONPATH=.:tests python -m benchmarks.load [--symbols 100] [--rate 200] [--workers 1] [--seconds 300]
"""

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from app import topics
from app.settings import Settings
from app.stack.errors import StackError
from app.stack.kafka import KafkaBroker
from app.stack.process import Child
from app.stack.redis import RedisServer
from benchmarks.load_generator import STAGGER_SEC
from benchmarks.load_watch import Outcome, Watch
from benchmarks.load_worker import ReportLooks, usage_of, worker_of
from benchmarks.throughput import BENCH_PYTHON, ROOT
from support.workers import Worker

_START_SEC = 60.0
_CATCH_UP_SEC = 180.0


class Load(msgspec.Struct, frozen=True):
    """So many symbols with `rate` events a second each, on so many workers, for `seconds` after `warm_up_sec`.

    With `trades_each` above 1 the tape's trades come several times, and so diffs make less of the mix.
    """

    symbols: int = 100
    rate: float = 200.0
    workers: int = 1
    seconds: float = 300.0
    warm_up_sec: float = 15.0
    trades_each: int = 1
    partitions: int = 32


class Result(msgspec.Struct, frozen=True):
    """What came of a load; `kafka_share` and the generator's are shares of one core."""

    load: Load
    outcome: Outcome
    kafka_share: float
    generator: dict[str, float]


def apply(load: Load, note: Callable[[float], None]) -> Result:
    """Start everything, apply the load, check that nothing was lost, stop everything.

    Raises:
        StackError: a process failed, or an event is missing.
    """
    symbols = [f"LOAD{number}USDT" for number in range(load.symbols)]
    with tempfile.TemporaryDirectory(prefix="context8-load-") as name, ExitStack() as stack:
        folder = Path(name)
        kafka = stack.enter_context(KafkaBroker(folder / "kafka"))
        redis = stack.enter_context(RedisServer(folder / "redis"))
        settings = Settings(
            kafka_brokers=kafka.bootstrap, redis_url=redis.url, events_partitions=load.partitions, worker_group="load"
        )
        asyncio.run(topics.ensure(settings))
        workers = [stack.enter_context(worker_of(settings, f"w{n}", folder)) for n in range(1, load.workers + 1)]
        for worker in workers:
            _until_ready(worker)
        generator = stack.enter_context(_generator(load, settings, symbols, folder))
        watch = Watch(workers, ReportLooks(redis.url, symbols), load.symbols)
        watch.until_all_reported(_START_SEC + STAGGER_SEC)
        watch.measure(load.warm_up_sec, lambda _: None)
        kafka_before = usage_of(kafka.process.pid).cpu
        outcome = watch.measure(load.seconds, note)
        kafka_share = (usage_of(kafka.process.pid).cpu - kafka_before) / outcome.seconds
        generator.stop()
        sent = json.loads((folder / "generator.json").read_text(encoding="utf-8"))
        counted = watch.until_applied(sent["sent"], _CATCH_UP_SEC)
        result = Result(load, msgspec.structs.replace(outcome, counted=counted), kafka_share, sent)
        _require_whole(result)
        for worker in workers:
            worker.request_stop()
        return result


def _require_whole(result: Result) -> None:
    counted, sent = result.outcome.counted, result.generator
    wrong = {
        "events lost by the generator": sent["lost"],
        "events applied too often": counted["context8_events_total"] - sent["sent"],
        "dead letters": counted["context8_dead_letters_total"],
        "books with a gap": result.outcome.broken_books,
    }
    if any(wrong.values()):
        raise StackError(", ".join(f"{count:.0f} {what}" for what, count in wrong.items() if count))


def _until_ready(worker: Worker) -> None:
    worker.wait_ready(lambda: asyncio.run(worker.health()).get("status") == "ok", _START_SEC)


def _generator(load: Load, settings: Settings, symbols: list[str], folder: Path) -> Child:
    options = {
        "brokers": settings.kafka_brokers,
        "topic": settings.events_topic,
        "symbols": symbols,
        "rate": load.rate,
        "seconds": load.seconds + load.warm_up_sec + 2 * _START_SEC,
        "trades_each": load.trades_each,
        "result": str(folder / "generator.json"),
    }
    command = [str(BENCH_PYTHON), "-m", "benchmarks.load_generator", json.dumps(options)]
    env = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    return Child("generator", command, log=folder / "generator.log", env=env, cwd=folder)


def summary(result: Result) -> list[tuple[str, str]]:
    """Return what to show of a result, as names and values."""
    load, outcome, counted = result.load, result.outcome, result.outcome.counted
    first, last = outcome.memory[len(outcome.memory) // 10], outcome.memory[-1]
    slow = [counted[f'context8_slow_cycles_total{{outcome="{name}"}}'] for name in ("done", "skipped")]
    return [
        ("load", f"{load.symbols} symbols × {load.rate:g} events/s, {load.workers} worker(s), {outcome.seconds:.0f} s"),
        ("CPU of each worker, of one core", ", ".join(f"{share:.0%}" for share in outcome.cpu_shares)),
        ("RSS of all workers", f"{first.rss_mb:.0f} MB at {first.at_sec:.0f} s, {last.rss_mb:.0f} MB at the end"),
        (
            "data_age_ms P50 / P95 / P99 / worst",
            f"{outcome.age_p50:.0f} / {outcome.age_p95:.0f} / {outcome.age_p99:.0f} / {outcome.age_worst:.0f}",
        ),
        ("reports a second and symbol", f"{outcome.reports_a_symbol:.2f}"),
        ("slow cycles done / skipped", f"{slow[0]:.0f} / {slow[1]:.0f}"),
        ("changelog", f"{outcome.changelog_bytes_per_sec / 1000:.0f} KB/s"),
        ("errors counted", f"{counted['context8_errors_total']:.0f}"),
        ("CPU of Kafka, of the generator", f"{result.kafka_share:.0%}, {result.generator['cpu_share']:.0%}"),
        ("generator behind its pace at worst", f"{result.generator['behind_sec'] * 1000:.0f} ms"),
    ]


def progress_bar(console: Console) -> Progress:
    """Return the bar of a measurement."""
    return Progress(TextColumn("{task.description:32}"), BarColumn(), TimeElapsedColumn(), console=console)


def main() -> int:
    """Run as a script."""
    default = Load()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--symbols", type=int, default=default.symbols)
    parser.add_argument("--rate", type=float, default=default.rate, help="events a second of each symbol")
    parser.add_argument("--workers", type=int, default=default.workers)
    parser.add_argument("--seconds", type=float, default=default.seconds)
    parser.add_argument("--trades-each", type=int, default=default.trades_each, help="how often each trade comes")
    parser.add_argument("--json", type=Path, help="file for every figure")
    options: dict[str, Any] = vars(parser.parse_args())
    file, console = options.pop("json"), Console()
    load = Load(**options)
    try:
        with progress_bar(console) as progress:
            task = progress.add_task(f"{load.symbols} symbols, {load.workers} worker(s)", total=load.seconds)
            result = apply(load, lambda passed: progress.update(task, completed=passed))
    except StackError as error:
        print(f"bench-load: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if file:
        file.write_bytes(msgspec.json.format(msgspec.json.encode(result)))
    console.print(f"Python {platform.python_version()}, {os.cpu_count()} cores", highlight=False)
    for name, value in summary(result):
        console.print(f"{name:38} {value}", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
