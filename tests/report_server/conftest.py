"""A realistic report, a store in memory, and a reader process before a Redis of its own."""

import json
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator, FormatChecker

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
    VolumeProfile,
    Wall,
    Writer,
    encode,
)
from app.stack.process import Child
from app.stack.redis import RedisServer
from app.stores.memory import MemoryReportStore
from app.stores.redis import RedisReportStore

ROOT: Final = Path(__file__).parents[2]
_LISTENING: Final = re.compile(r"listening on (http://\S+?),")


@pytest.fixture(scope="module")
def make_report() -> Callable[[str], bytes]:
    """Make the JSON of a full report of some 2.5 KB, with numbers that are easily spoilt on the way.

    Its time is that of the module's first test: a whole run takes longer than any reader believes a report.
    """
    return partial(_make_report, time.time_ns() // 1_000_000 * 1_000_000)


def _make_report(now_ns: int, symbol: str) -> bytes:
    bids = tuple(Level(61234.56 - i / 100, 0.00001 + i * 0.317) for i in range(20))
    asks = tuple(Level(61234.57 + i / 100, 1e-05 + i * 0.211) for i in range(20))
    report = Report(
        symbol=symbol,
        venue="BINANCE",
        generated_at=rfc3339.format_nanos(now_ns),
        updatedAt=now_ns // 1_000_000,
        writer=Writer("worker-1", 2**63 - 1001),
        data_age_ms=42,
        ingestion=Ingestion("ok", 12, 1234, Confidence(1.0, 1.0, 0.5)),
        last_price=61234.57,
        best_bid=bids[0],
        best_ask=asks[0],
        spread_bps=0.0016330638,
        mid_price=61234.565,
        depth=Depth(bids, asks, 60.2302, 40.0902, 0.2007),
        flow=Flow(12.3, -0.75),
        liquidity=Liquidity((Wall("bid", 61234.0, 9.5, "high"),), (), VolumeProfile(61230, 61250, 61200, 1800, 9)),
        health=Health(87.5, {"spread": 100.0}),
        provenance=Provenance(
            partition=7,
            offset=123_456,
            book_update_id=987_654,
            ts_event=rfc3339.format_nanos(now_ns),
            as_of=rfc3339.format_nanos(now_ns),
            slow=SlowProvenance(123_400, rfc3339.format_nanos(now_ns)),
            gap_count=0,
            book_ok=True,
        ),
    )
    return encode(report)


@pytest.fixture(scope="session")
def check_report() -> Callable[[Any], None]:
    """Fail unless the argument is a report as docs/schemas/report.json wants it."""
    schema = json.loads((ROOT / "docs" / "schemas" / "report.json").read_text(encoding="utf-8"))
    check: Callable[[Any], None] = Draft202012Validator(schema, format_checker=FormatChecker()).validate
    return check


@pytest.fixture
def memory_store() -> MemoryReportStore:
    return MemoryReportStore(300, time.monotonic)


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server of this module's own, which its tests may freeze and restart."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
async def store(redis_server: RedisServer) -> AsyncIterator[RedisReportStore]:
    """What a worker writes with, into `redis_server`."""
    store = RedisReportStore(redis_server.url, password=None, ttl_sec=300, timeout_sec=5.0)
    yield store
    await store.close()


@pytest.fixture(scope="module")
def reader_env(redis_server: RedisServer) -> dict[str, str]:
    """Environment of a reader process that reads `redis_server`.

    Its limit is one that a busy machine does not reach: a late answer is an honest 503, and not what most tests look
    for. Those that do set a limit of their own.
    """
    return {
        "REDIS_URL": redis_server.url,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "mcp")]),
        "STALE_AFTER_MS": "600000",  # the tests' reports are written once and read for as long as it takes
        "TIMEOUT_MS": "20000",
    }


@pytest.fixture(scope="module")
def reader_command() -> list[str]:
    return [sys.executable, "-W", "error", "-m", "report_server"]


@pytest.fixture(scope="module")
def reader(
    reader_command: list[str], reader_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Child]:
    """A reader process over HTTP, on a free port."""
    folder = tmp_path_factory.mktemp("reader")
    command = [*reader_command, "--port", "0"]
    with Child("reader", command, log=folder / "log", env=reader_env, cwd=folder) as child:
        child.wait_ready(lambda: _LISTENING.search(child.log_tail()) is not None, 30)
        yield child


@pytest.fixture(scope="module")
def reader_url(reader: Child) -> str:
    listening = _LISTENING.search(reader.log.read_text(encoding="utf-8"))
    assert listening is not None
    return listening.group(1)
