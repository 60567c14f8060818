"""A reader with tokens, a rate, and a Redis user that can only read: as one would expose it."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from redis.asyncio import Redis

from app.stack.process import Child
from app.stack.redis import RedisServer
from app.stores.base import Publication
from app.stores.redis import RedisReportStore
from support.workers import eventually

pytestmark = pytest.mark.stack

ROOT = Path(__file__).parents[2]
ALICE = {"authorization": "Bearer alice-0123456789abcdef"}
BOB = {"authorization": "Bearer bob-0123456789abcdef"}
RATE = 20


@pytest.fixture
def tokens_file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text("alice:alice-0123456789abcdef\n")
    return path


@pytest.fixture
def exposed(
    reader_command: list[str], reader_env: dict[str, str], tokens_file: Path, redis_server: RedisServer, tmp_path: Path
) -> Iterator[str]:
    """Give the address of the reader."""
    env = reader_env | {
        "READER_TOKENS_FILE": str(tokens_file),
        "READER_RATE_LIMIT": str(RATE),
        "REDIS_URL": redis_server.url.replace("redis://", "redis://reader@"),
        "REDIS_PASSWORD": "CHANGE-THE-READER-PASSWORD",
    }
    with Child("reader", [*reader_command, "--port", "0"], log=tmp_path / "log", env=env, cwd=tmp_path) as child:
        listening = re.compile(r"listening on (http://\S+?),")
        child.wait_ready(lambda: listening.search(child.log_tail()) is not None, 30)
        found = listening.search(child.log_tail())
        assert found is not None
        yield found.group(1)


@pytest.fixture
async def http(redis_server: RedisServer, request: pytest.FixtureRequest) -> AsyncIterator[httpx2.AsyncClient]:
    users = (ROOT / "deploy" / "redis-users.acl").read_text(encoding="utf-8").splitlines()
    (user,) = [line for line in users if line.startswith("user reader ")]
    admin: Any = Redis.from_url(redis_server.url)
    async with admin:
        await admin.execute_command("ACL", "SETUSER", *user.split()[1:])
    address = request.getfixturevalue("exposed")
    async with httpx2.AsyncClient(base_url=address, timeout=10, trust_env=False) as client:
        yield client


async def test_only_holders_of_a_token_get_anything_but_health(
    http: httpx2.AsyncClient, store: RedisReportStore, make_report: Callable[[str], bytes], tokens_file: Path
) -> None:
    await store.publish([Publication("BTCUSDT", 1, make_report("BTCUSDT"))])
    paths = ("/get_report?symbol=BTCUSDT", "/symbols", "/metrics", "/openapi.json", "/stream?symbols=BTCUSDT")
    assert {(await http.get(path)).status_code for path in paths} == {401}
    assert (await http.get("/health")).status_code == 200
    assert b"BTCUSDT" not in (await http.get("/")).content
    assert (await http.get(paths[0], headers=BOB)).status_code == 401

    known = await http.get(paths[0], headers=ALICE)
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "list_symbols", "arguments": {}}}
    accept = {"accept": "application/json, text/event-stream"}
    unknown = await http.post("/mcp", json=call, headers=accept)
    called = await http.post("/mcp", json=call, headers=accept | ALICE)

    assert known.json()["symbol"] == "BTCUSDT"
    assert (unknown.status_code, called.status_code) == (401, 200)
    assert [each["symbol"] for each in called.json()["result"]["structuredContent"]["symbols"]] == ["BTCUSDT"]
    refused = (await http.get("/metrics", headers=ALICE)).text
    assert 'context8_mcp_refused_total{reason="token"} 7.0' in refused

    await asyncio.to_thread(tokens_file.write_text, "# alice is gone\nbob:bob-0123456789abcdef\n")

    async def bob_is_in() -> bool:
        return (await http.get(paths[0], headers=BOB)).status_code == 200

    await eventually(bob_is_in, "the new token works", 10)
    assert (await http.get(paths[0], headers=ALICE)).status_code in (401, 429), "429 for so many failures before"


async def test_a_stream_ends_with_its_token(
    http: httpx2.AsyncClient, store: RedisReportStore, make_report: Callable[[str], bytes], tokens_file: Path
) -> None:
    await store.publish([Publication("BTCUSDT", 1, make_report("BTCUSDT"))])
    lines = []
    async with http.stream("GET", "/stream?symbols=BTCUSDT", headers=ALICE) as stream:
        assert stream.status_code == 200
        async for line in stream.aiter_lines():
            lines.append(line)
            if line.startswith("event: report"):
                await asyncio.to_thread(tokens_file.write_text, "bob:bob-0123456789abcdef\n")
                revoked = time.monotonic()
    assert "event: report" in lines
    assert time.monotonic() - revoked < 5
    assert (await http.get("/symbols", headers=ALICE)).status_code == 401


async def test_a_client_that_asks_too_often_is_slowed_down(http: httpx2.AsyncClient) -> None:
    crowd = await asyncio.gather(*(http.get("/get_report?symbol=NOSUCH", headers=ALICE) for _ in range(20 * RATE)))

    statuses = [response.status_code for response in crowd]
    assert statuses.count(200) >= RATE
    assert 429 in statuses
    assert (await http.get("/health")).status_code == 200
