"""What the reader is measured on: reports that are written all the time, two servers that read them, and load."""

import asyncio
import json
import os
import sys
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from app.microstructure import rfc3339
from app.microstructure.report import (
    Confidence,
    Depth,
    Flow,
    Health,
    Ingestion,
    Level,
    Liquidity,
    Provenance,
    Report,
    SlowProvenance,
    Writer,
    encode,
)
from app.stack.ports import free_ports
from app.stack.process import Child
from app.stores.base import Publication, StoreUnavailableError
from app.stores.redis import RedisReportStore
from benchmarks.reader_load import SYMBOLS

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PLAIN, READER = "plain SDK", "reader"


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
    """Write all symbols four times a second, whatever becomes of Redis."""
    store = RedisReportStore(url, password=None, ttl_sec=300, timeout_sec=0.5)

    async def write() -> None:
        while True:
            with suppress(StoreUnavailableError):
                await store.publish([Publication(symbol, 1, report(symbol)) for symbol in SYMBOLS])
            await asyncio.sleep(0.25)

    task = asyncio.create_task(write())
    try:
        await asyncio.sleep(0.5)
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        await store.close()


def servers(stack: ExitStack, redis_url: str, folder: Path) -> dict[str, str]:
    """Start both servers and return their addresses once they answer."""
    plain_port, reader_port = free_ports(2)
    plain = [sys.executable, str(HERE / "plain_reader.py"), redis_url, str(plain_port)]
    reader = [sys.executable, "-m", "report_server", "--port", str(reader_port)]
    return {
        PLAIN: _start(stack, "plain", plain, redis_url, folder, plain_port),
        READER: _start(stack, "reader", reader, redis_url, folder, reader_port),
    }


async def load(url: str, kind: str, callers: int, seconds: float) -> dict[str, Any]:
    """Run the load in a process of its own and return what it saw."""
    command = [sys.executable, str(HERE / "reader_load.py"), url, kind, str(callers), str(seconds)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    seen: dict[str, Any] = json.loads(out)
    return seen


def _start(stack: ExitStack, name: str, command: list[str], redis_url: str, folder: Path, port: int) -> str:
    url = f"http://127.0.0.1:{port}"
    env = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "mcp")]), "REDIS_URL": redis_url}
    child = stack.enter_context(Child(name, command, log=folder / f"{name}.log", env=env, cwd=folder))
    child.wait_ready(lambda: _answers(url), 30)
    return url


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/get_report?symbol={SYMBOLS[0]}", timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False
