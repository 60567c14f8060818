"""A reader process whose wall clock is wrong, and jumps while it runs, before a real Redis."""

import re
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from app.microstructure import rfc3339
from app.stack.process import Child
from app.stores.base import Publication
from app.stores.redis import RedisReportStore
from support.wall_clock import WallClock
from support.workers import eventually

pytestmark = pytest.mark.stack

HOUR_SEC = 3600


@pytest.fixture
def clock(tmp_path: Path) -> WallClock:
    return WallClock(tmp_path / "clock")


@pytest.fixture
async def http(reader_env: dict[str, str], clock: WallClock, tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    env = reader_env | clock.env(reader_env["PYTHONPATH"]) | {"STALE_AFTER_MS": "2000"}
    command = [sys.executable, "-W", "error", "-m", "report_server", "--port", "0"]
    with Child("reader", command, log=tmp_path / "log", env=env, cwd=tmp_path) as child:
        child.wait_ready(lambda: "listening on" in child.log_tail(), 30)
        found = re.search(r"listening on (http://\S+?),", child.log_tail())
        assert found is not None
        async with httpx2.AsyncClient(base_url=found[1], timeout=10, trust_env=False) as client:
            yield client


async def write(store: RedisReportStore, report: bytes, worker_sec: int = 0) -> None:
    """Write a report of data that are 42 ms old, by a worker whose clock is so far ahead."""
    content, now_ms = msgspec.json.decode(report), time.time_ns() // 1_000_000
    content["updatedAt"] = now_ms + worker_sec * 1000
    content["data_age_ms"] = max(0, 42 + worker_sec * 1000)
    content["provenance"]["ts_event"] = rfc3339.format_nanos((now_ms - 42) * 10**6)
    epoch = content["writer"]["writerToken"]
    assert await store.publish([Publication("BTCUSDT", epoch, msgspec.json.encode(content))]) == [True]


async def state(http: httpx2.AsyncClient) -> tuple[int, bool]:
    """Return how long ago the report was written by the reader's account, and whether it is stale."""
    report: dict[str, Any] = (await http.get("/get_report", params={"symbol": "BTCUSDT"})).json()
    return report["data_age_ms"] - 42, report["ingestion"]["stale"]


async def clocks(http: httpx2.AsyncClient) -> str:
    return str((await http.get("/health")).json()["checks"]["clocks"]["error"])


@pytest.mark.parametrize("off_sec", [HOUR_SEC, -HOUR_SEC])
async def test_a_jump_of_the_readers_clock_moves_no_age_and_is_named(
    http: httpx2.AsyncClient,
    clock: WallClock,
    store: RedisReportStore,
    make_report: Callable[[str], bytes],
    off_sec: int,
) -> None:
    report = make_report("BTCUSDT")
    await write(store, report)
    age_ms, stale = await state(http)
    assert (age_ms < 1000, stale, await clocks(http)) == (True, False, "None")
    clock.set(off_sec)

    async def named() -> bool:
        await write(store, report)
        age_ms, stale = await state(http)
        assert age_ms < 1000
        assert not stale
        return "this reader's clock is 3600.0 s " in await clocks(http)

    await eventually(named, "the reader says that its clock is wrong", 10)
    assert (await http.get("/health")).status_code == 200
    assert 'context8_mcp_wrong_clocks_total{whose="reader"} 0.0' not in (await http.get("/metrics")).text

    async def gone() -> bool:
        age_ms, stale = await state(http)
        assert stale is (age_ms > 2000)
        return stale

    await eventually(gone, "a worker that writes no more is known to be quiet", 10)


@pytest.mark.parametrize("off_sec", [HOUR_SEC, -HOUR_SEC])
async def test_a_workers_wrong_clock_moves_no_age_and_is_named(
    http: httpx2.AsyncClient, store: RedisReportStore, make_report: Callable[[str], bytes], off_sec: int
) -> None:
    await store._redis.flushdb()
    await write(store, make_report("BTCUSDT"), off_sec)

    age_ms, stale = await state(http)

    assert (age_ms < 1000, stale) == (True, False)
    side = "ahead of" if off_sec > 0 else "behind"
    assert re.fullmatch(rf"worker-1 dates its reports 3(600|599)\.\d s {side} the store's clock", await clocks(http))
