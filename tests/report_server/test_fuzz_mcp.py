"""Hostile symbols by the thousand and messages that are none, to the reader as a process: refused, and nothing left."""

import asyncio
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from app.stack.process import Child
from app.stores.base import Publication
from app.stores.redis import RedisReportStore
from support import raw_http
from support.bent_requests import bent_bodies, nested
from support.examples import TIMES, examples
from support.hostile import MARK, broken_messages, symbols
from support.mcp_requests import LEGACY, MODERN, call, headers_of
from support.telling import Tell

pytestmark = [pytest.mark.stack, pytest.mark.fuzz, pytest.mark.timeout(180 * TIMES)]

HOSTILE = 10_000
SEED = random.randrange(10**6) if TIMES > 1 else 0
BROKEN = examples(3_000)
MOST_GROWN_MB = 30  # the allocator's own unrest; ten thousand requests that left 3 KB each would be all of it


@pytest.fixture
async def published(store: RedisReportStore, make_report: Callable[[str], bytes]) -> None:
    await store.publish([Publication("BTCUSDT", 1, make_report("BTCUSDT"))])


def over_http(symbol: str) -> list[bytes]:
    sent = quote(symbol, safe="")
    return [
        raw_http.get(f"/get_report?symbol={sent}"),
        raw_http.get(f"/get_report?symbol=BTCUSDT&fields={sent}"),
        raw_http.get(f"/reports?symbols=BTCUSDT,{sent}"),
        raw_http.get(f"/stream?symbols={sent}"),
    ]


def over_mcp(symbol: str) -> list[bytes]:
    read = {"jsonrpc": "2.0", "id": 7, "method": "resources/read", "params": {"uri": f"report://{symbol}"}}
    return [
        raw_http.post(json.dumps(each).encode(), headers_of("2025-11-25"))
        for each in (
            call("2025-11-25", symbol=symbol),
            call("2025-11-25", "get_reports", symbols=["BTCUSDT", symbol]),
            call("2025-11-25", "explain_metric", name=symbol),
            read,
        )
    ]


async def series(reader_url: str) -> set[str]:
    """Return the names and labels of all metrics, without their values."""
    (answer,) = await raw_http.answers(reader_url, [raw_http.get("/metrics")])
    return {line.rpartition(" ")[0] for line in answer.body.decode().splitlines() if line[0] != "#"}


def resident_mb(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


async def test_ten_thousand_hostile_symbols_are_refused_without_a_trace(reader_url: str, reader: Child) -> None:
    first, *rest = symbols(HOSTILE)
    # Four of five as GETs: those cost the reader a tenth of a message.
    by_get = [over_http(symbol)[number % 4] for number, symbol in enumerate(rest) if number % 5]
    by_mcp = [over_mcp(symbol)[number // 5 % 4] for number, symbol in enumerate(rest) if not number % 5]
    await raw_http.answers(reader_url, [*over_http(first), *over_mcp(first)] * 50)  # all that is made once is made
    series_before, size_before = await series(reader_url), resident_mb(reader.pid)

    statuses = {answer.status for answer in await raw_http.answers(reader_url, by_get)}
    told = [json.loads(answer.body) for answer in await raw_http.answers(reader_url, by_mcp)]

    assert statuses == {400}
    assert all("error" in each or each["result"]["isError"] for each in told)
    assert await series(reader_url) == series_before
    assert MARK not in " ".join(series_before) + reader.log.read_text(encoding="utf-8")
    assert resident_mb(reader.pid) - size_before < MOST_GROWN_MB


@pytest.mark.parametrize("version", [None, LEGACY[-1], MODERN])
async def test_messages_that_are_none_are_refused_and_the_next_one_is_answered(
    reader_url: str, reader: Child, published: None, version: str | None, tell: Tell
) -> None:
    seed = SEED + len(version or "")
    tell(f"{BROKEN // 3} messages of seed {seed}")
    bodies = [*broken_messages(BROKEN // 3, seed), *bent_bodies(version)]
    # One that listens is no broken message: its answer does not end.
    bodies = [body for body in bodies if TIMES == 1 or b"subscriptions/listen" not in body]

    told = await raw_http.answers(reader_url, [raw_http.post(body, headers_of(version)) for body in bodies])
    (good,) = await raw_http.answers(
        reader_url, [raw_http.post(json.dumps(call(version)).encode(), headers_of(version))]
    )

    assert {answer.status for answer in told} <= {200, 202, 400, 404, 413}
    for answer in told:
        if answer.body:
            assert {"result", "error"} & json.loads(answer.body).keys()
    assert json.loads(good.body)["result"]["structuredContent"]["symbol"] == "BTCUSDT"
    assert "Traceback" not in reader.log.read_text(encoding="utf-8")


async def test_over_stdio_too_a_line_that_is_no_message_does_not_end_the_conversation(
    reader_command: list[str], reader_env: dict[str, str], tmp_path: Path, published: None
) -> None:
    hello: dict[str, Any] = {"protocolVersion": "2025-11-25", "capabilities": {}}
    hello["clientInfo"] = {"name": "x", "version": "1"}
    greeting = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}
    broken = [body.replace(b"\n", b" ") for body in broken_messages(200)]
    last = call("2025-11-25") | {"id": "last"}
    deep = nested(call("2025-11-25") | {"id": "deep"})
    lines = [json.dumps(greeting).encode(), *broken, b"\xff\xfe", b"[" * 3000, b"[]", *deep, json.dumps(last).encode()]
    process = await asyncio.create_subprocess_exec(
        *reader_command,
        "--transport",
        "stdio",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**20,
        env=reader_env,
        cwd=tmp_path,
    )
    assert process.stdin is not None
    assert process.stdout is not None

    process.stdin.write(b"\n".join([*lines, b""]))
    async with asyncio.timeout(60):
        while (answer := json.loads(await process.stdout.readline())).get("id") != "last":
            assert "jsonrpc" in answer
    process.stdin.close()
    assert await asyncio.wait_for(process.wait(), 20) == 0

    assert answer["result"]["structuredContent"]["symbol"] == "BTCUSDT"
