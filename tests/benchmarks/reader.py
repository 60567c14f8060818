"""The reader beside the plain SDK server, in one run: `make bench-reader`.

Both read one Redis, into which reports of ten symbols are written four times a second each. The load comes from a
process of its own on the same machine. Each figure is the median of several rounds, in which the servers take turns,
so that a slow minute of the machine hits both. Then Redis is frozen, killed and started again, and emptied under 100
callers.

    python tests/benchmarks/reader.py [--seconds 2] [--rounds 3] [--callers 1,10,100,500]
"""

import argparse
import asyncio
import json
import math
import os
import signal
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from app.microstructure import rfc3339
from app.microstructure.report import Depth, Flow, Health, Ingestion, Level, Report, Writer, encode

from app.microstructure.report import Confidence, Liquidity, Provenance, SlowProvenance  # isort: skip
from app.stack.ports import free_ports
from app.stack.process import Child
from app.stack.redis import RedisServer
from app.stores.base import Publication, StoreUnavailableError
from app.stores.redis import RedisReportStore

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SYMBOLS = [f"BENCH{number}" for number in range(10)]


def report(symbol: str) -> bytes:
    """Return a report of some 3 KB, as large as real ones are."""
    now = time.time_ns()
    levels = tuple(Level(61234.56 + i / 100, 0.00001 + i * 0.317) for i in range(20))
    stamp = rfc3339.format_nanos(now)
    value = Report(
        symbol=symbol,
        venue="BINANCE",
        generated_at=stamp,
        updatedAt=now // 1_000_000,
        writer=Writer("worker-1", 7),
        data_age_ms=42,
        ingestion=Ingestion("ok", 12, 1234, Confidence(1.0, 1.0, 0.5)),
        last_price=61234.57,
        best_bid=levels[0],
        best_ask=levels[1],
        mid_price=61234.565,
        depth=Depth(levels, levels, 60.2302, 40.0902, 0.2007),
        flow=Flow(12.3, -0.75),
        liquidity=Liquidity((), (), None),
        health=Health(87.5, {"spread": 100.0}),
        provenance=Provenance(7, 123_456, 987_654, stamp, stamp, SlowProvenance(123_400, stamp), 0, True),
    )
    return encode(value)


@asynccontextmanager
async def written(url: str) -> AsyncIterator[None]:
    """Write all symbols four times a second."""
    store = RedisReportStore(url, password=None, ttl_sec=300, timeout_sec=0.5)

    async def write() -> None:
        while True:
            with suppress(StoreUnavailableError):
                await store.publish([Publication(symbol, 1, report(symbol)) for symbol in SYMBOLS])
            await asyncio.sleep(0.25)

    task = asyncio.create_task(write())
    yield
    task.cancel()
    await asyncio.wait([task])
    await store.close()


async def load(url: str, kind: str, callers: int, seconds: float) -> dict[str, Any]:
    """Run the load and return what it saw."""
    command = [sys.executable, str(HERE / "reader_load.py"), url, kind, str(callers), str(seconds)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    seen: dict[str, Any] = json.loads(out)
    return seen


def start(stack: ExitStack, name: str, command: list[str], redis: RedisServer, folder: Path, port: int) -> str:
    """Start a server and return its address once it answers."""
    url = f"http://127.0.0.1:{port}"
    env = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "mcp")]), "REDIS_URL": redis.url}
    child = stack.enter_context(Child(name, command, log=folder / f"{name}.log", env=env, cwd=folder))
    child.wait_ready(lambda: _answers(url), 30)
    return url


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/get_report?symbol=BENCH0", timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False


async def freeze(redis: RedisServer) -> None:
    """Stand still for 1.5 s."""
    os.kill(redis.process.pid, signal.SIGSTOP)
    await asyncio.sleep(1.5)
    os.kill(redis.process.pid, signal.SIGCONT)


async def restart(redis: RedisServer) -> None:
    """Be killed, and started again, empty."""
    await asyncio.to_thread(redis.kill)
    await asyncio.sleep(0.5)
    await asyncio.to_thread(redis.start)


async def flush(redis: RedisServer) -> None:
    """Lose everything; the writer's next cycle brings it back."""
    client: Redis = Redis.from_url(redis.url)
    async with client:
        await client.flushall()


FAULTS = {"frozen for 1.5 s": freeze, "killed and started again": restart, "emptied": flush}


async def under_fault(url: str, fault: Callable[[RedisServer], Awaitable[None]], redis: RedisServer) -> dict[str, Any]:
    """Let Redis fail under 100 MCP callers; `back_ms` is the time from its return to the first report."""
    running = asyncio.create_task(load(url, "mcp", 100, 4.0))
    await asyncio.sleep(1.5)
    await fault(redis)
    healed = time.perf_counter()  # the monotonic clock of the machine: the load's process has the same
    seen = await running
    back = seen["back_at"]
    return seen | {"back_ms": (back - healed) * 1000 if back else None}


async def measure(seconds: float, rounds: int, levels: list[int]) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        redis = stack.enter_context(RedisServer(folder / "redis"))
        async with written(redis.url):
            await asyncio.sleep(0.5)
            plain_port, reader_port = free_ports(2)
            plain_command = [sys.executable, str(HERE / "plain_reader.py"), redis.url, str(plain_port)]
            reader_command = [sys.executable, "-m", "report_server", "--port", str(reader_port)]
            servers = {
                "plain SDK": start(stack, "plain", plain_command, redis, folder, plain_port),
                "reader": start(stack, "reader", reader_command, redis, folder, reader_port),
            }
            print(f"report of {len(report('BENCH0'))} bytes, 10 symbols, {rounds} rounds of {seconds:g} s, medians\n")
            print("| callers | request | server | calls/s | p50 ms | p99 ms | errors |\n|---|---|---|---|---|---|---|")
            for callers in levels:
                for kind in ("mcp", "modern", "get"):
                    await _compare(servers, kind, callers, seconds, rounds)
            print("\n| Redis, under 100 callers | server | errors | longest answer ms | first report again, ms |")
            print("|---|---|---|---|---|")
            for name_of, fault in FAULTS.items():
                for server, url in servers.items():
                    seen = [await under_fault(url, fault, redis) for _ in range(rounds)]
                    errors, longest = (statistics.median(each[what] for each in seen) for what in ("errors", "max_ms"))
                    backs = [each["back_ms"] for each in seen if each["back_ms"] is not None]
                    back = f"{statistics.median(backs):.0f}" if backs else "-"
                    longest_of = f"{longest:.0f}" if longest < math.inf else "no answer in 4 s"
                    print(f"| {name_of} | {server} | {errors:g} | {longest_of} | {back} |", flush=True)


async def _compare(servers: dict[str, str], kind: str, callers: int, seconds: float, rounds: int) -> None:
    seen: dict[str, list[dict[str, Any]]] = {server: [] for server in servers}
    for _ in range(rounds):
        for server, url in servers.items():
            seen[server].append(await load(url, kind, callers, seconds))
    for server, all_seen in seen.items():
        per_sec, p50, p99, errors = (
            statistics.median(each[name] for each in all_seen) for name in ("per_sec", "p50_ms", "p99_ms", "errors")
        )
        print(f"| {callers} | {kind} | {server} | {per_sec:,.0f} | {p50:.1f} | {p99:.1f} | {errors:g} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--callers", default="1,10,100,500")
    options = parser.parse_args()
    asyncio.run(measure(options.seconds, options.rounds, [int(part) for part in options.callers.split(",")]))
