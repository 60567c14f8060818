"""How the load grows with symbols and is shared by workers: `make bench-growth`.

Runs `benchmarks.load` for 1 to 100 symbols on one worker and for the most symbols on 1 to 3 workers, one after the
other, draws both as docs/performance-*.svg and prints how many symbols a worker can carry.

    PYTHONPATH=.:tests python -m benchmarks.growth [--symbols 1,10,30,100] [--workers 1,2,3] [--seconds 30]
"""

import argparse
import os
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from app.stack.errors import StackError
from benchmarks.load import Load, Result, apply, progress_bar
from benchmarks.throughput import ROOT

_DOCS = ROOT / "docs"
_SHARES = (0.5, 0.7)


def measure(loads: Sequence[Load], console: Console) -> list[Result]:
    """Apply one load after the other."""
    results = []
    with progress_bar(console) as progress:
        for load in loads:
            task = progress.add_task(f"{load.symbols} symbols, {load.workers} worker(s)", total=load.seconds)
            results.append(apply(load, lambda passed, task=task: progress.update(task, completed=passed)))  # type: ignore[misc] # mypy cannot infer it
    return results


def draw(results: Sequence[Result], along: Callable[[Load], int], label: str, file: Path) -> None:
    """Draw CPU, memory and ages of `results` along one quantity of their loads."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "context8"  # the same figures give the same file
    from matplotlib import pyplot as plt

    at = [along(result.load) for result in results]
    curves: list[tuple[str, dict[str, list[float]]]] = [
        ("% of one core, busiest worker", {"": [100 * max(result.outcome.cpu_shares) for result in results]}),
        ("RSS of all workers, MB", {"": [result.outcome.memory[-1].rss_mb for result in results]}),
        (
            "data_age_ms",
            {
                "P50": [result.outcome.age_p50 for result in results],
                "P95": [result.outcome.age_p95 for result in results],
                "P99": [result.outcome.age_p99 for result in results],
            },
        ),
    ]
    figure, axes = plt.subplots(1, len(curves), figsize=(10, 2.8), layout="constrained")
    for axis, (title, lines) in zip(axes, curves, strict=True):
        for name, values in lines.items():
            axis.plot(at, values, marker="o", label=name)
        axis.set(title=title, xlabel=label, xticks=at, ylim=(0, None))
        axis.grid(alpha=0.3)
        if len(lines) > 1:
            axis.legend()
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)


def symbols_a_worker(results: Sequence[Result], share: float) -> int:
    """Return how many symbols use `share` of a core, on the line through the smallest and the largest load."""
    few, many = results[0], results[-1]
    each = (many.outcome.cpu_shares[0] - few.outcome.cpu_shares[0]) / (many.load.symbols - few.load.symbols)
    return int(few.load.symbols + (share - few.outcome.cpu_shares[0]) / each)


def table(results: Sequence[Result]) -> str:
    """Return the results as a Markdown table."""
    rows = [
        "| symbols | workers | CPU of each, of a core | RSS of all, MB | data_age_ms P50 / P95 / P99 | slow skipped |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        load, outcome = result.load, result.outcome
        shares = ", ".join(f"{share:.0%}" for share in outcome.cpu_shares)
        skipped = outcome.counted['context8_slow_cycles_total{outcome="skipped"}']
        ages = f"{outcome.age_p50:.0f} / {outcome.age_p95:.0f} / {outcome.age_p99:.0f}"
        rows.append(
            f"| {load.symbols} | {load.workers} | {shares} | {outcome.memory[-1].rss_mb:.0f} | {ages} | {skipped:.0f} |"
        )
    return "\n".join(rows)


def main() -> int:
    """Run as a script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--symbols", default="1,10,30,100")
    parser.add_argument("--workers", default="1,2,3")
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--json", type=Path, help="file for every figure")
    options = parser.parse_args()
    console = Console()
    counts, workers = ([int(part) for part in text.split(",")] for text in (options.symbols, options.workers))
    common: dict[str, Any] = {"rate": options.rate, "seconds": options.seconds}
    loads = [Load(symbols=count, **common) for count in counts]
    loads += [Load(symbols=counts[-1], workers=count, **common) for count in workers if count > 1]
    try:
        results = measure(loads, console)
    except StackError as error:
        print(f"bench-growth: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(results)))
    alone, together = results[: len(counts)], results[len(counts) - 1 :]
    draw(alone, lambda load: load.symbols, "symbols on one worker", _DOCS / "performance-symbols.svg")
    draw(together, lambda load: load.workers, f"workers for {counts[-1]} symbols", _DOCS / "performance-workers.svg")
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores\n\n{table(results)}\n")
    for share in _SHARES if len(alone) > 1 else ():
        print(f"{symbols_a_worker(alone, share)} symbols use {share:.0%} of one core")
    return 0


if __name__ == "__main__":
    sys.exit(main())
