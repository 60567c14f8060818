"""The reader as a process, its clients and a Redis: all real."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp_types import TextContent

from app.stack.process import Child
from app.stack.redis import RedisServer
from app.stores.base import Publication
from app.stores.redis import RedisReportStore
from support.ages import without_ages

pytestmark = pytest.mark.stack

MODES = pytest.mark.parametrize("mode", ["legacy", "auto"])
AWAY = "the report store is away or did not answer within 1000 ms; try again"


@pytest.fixture(scope="module")
def reader_env(reader_env: dict[str, str]) -> dict[str, str]:
    return reader_env | {"TIMEOUT_MS": "1000"}


@pytest.fixture
async def http(reader_url: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=reader_url, timeout=10, trust_env=False) as client:
        yield client


@contextmanager
def frozen(server: RedisServer) -> Iterator[None]:
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.process.pid, signal.SIGCONT)


async def served_again(http: httpx2.AsyncClient, symbol: str) -> httpx2.Response:
    async with asyncio.timeout(10):
        while (response := await http.get("/get_report", params={"symbol": symbol})).status_code != 200:
            pass
    return response


@MODES
async def test_an_mcp_client_gets_the_report_over_http(
    reader_url: str,
    store: RedisReportStore,
    make_report: Callable[[str], bytes],
    check_report: Callable[[Any], None],
    mode: str,
) -> None:
    await store.publish([Publication("BTCUSDT", 1, make_report("BTCUSDT"))])

    async with Client(f"{reader_url}/mcp", mode=mode) as client:
        result = await client.call_tool("get_report", {"symbol": "BTCUSDT"})
        nothing = await client.call_tool("get_report", {"symbol": "NOSUCH"})
        malformed = await client.call_tool("get_report", {"symbol": "btc usdt"})

    check_report(result.structured_content)
    assert without_ages(result.structured_content) == without_ages(make_report("BTCUSDT"))
    assert nothing.structured_content == {}
    assert malformed.is_error


@MODES
async def test_an_mcp_client_gets_the_report_over_stdio(
    reader_command: list[str],
    reader_env: dict[str, str],
    store: RedisReportStore,
    make_report: Callable[[str], bytes],
    check_report: Callable[[Any], None],
    tmp_path: Path,
    mode: str,
) -> None:
    await store.publish([Publication("ETHUSDT", 1, make_report("ETHUSDT"))])
    arguments = [*reader_command[1:], "--transport", "stdio"]
    server = StdioServerParameters(command=reader_command[0], args=arguments, env=reader_env, cwd=tmp_path)

    async with Client(server, mode=mode) as client:
        result = await client.call_tool("get_report", {"symbol": "ETHUSDT"})
        nothing = await client.call_tool("get_report", {"symbol": "NOSUCH"})
        malformed = await client.call_tool("get_report", {"symbol": ""})

    check_report(result.structured_content)
    assert nothing.structured_content == {}
    assert malformed.is_error


async def test_get_sends_the_stored_bytes(
    http: httpx2.AsyncClient, store: RedisReportStore, make_report: Callable[[str], bytes]
) -> None:
    body = make_report("SOLUSDT")
    await store.publish([Publication("SOLUSDT", 1, body)])

    response = await http.get("/get_report?symbol=SOLUSDT")

    assert (response.status_code, without_ages(response.content)) == (200, without_ages(body))
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-cache"


async def test_get_answers_null_for_an_unknown_symbol(http: httpx2.AsyncClient) -> None:
    response = await http.get("/get_report?symbol=NOSUCH")

    assert (response.status_code, response.content) == (200, b"null")


@pytest.mark.parametrize("query", ["", "?symbol=", "?symbol=btc", "?symbol=A%00B", "?symbol=AA&symbol=BB", "?s=AA"])
async def test_get_refuses_a_malformed_symbol_and_says_what_is_allowed(http: httpx2.AsyncClient, query: str) -> None:
    response = await http.get(f"/get_report{query}")

    assert response.status_code == 400
    assert "2 to 20 of A-Z and 0-9" in response.json()["error"]


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/get_report?symbol=NOSUCH", {"host": "evil.example"}, 421),
        ("/get_report?symbol=NOSUCH", {"origin": "https://evil.example"}, 403),
        ("/get_report?symbol=NOSUCH", {"host": "localhost:1"}, 200),
        ("/health", {"host": "10.2.3.4:8080"}, 200),
        ("/metrics", {"host": "10.2.3.4:8080"}, 200),
    ],
)
async def test_a_web_page_cannot_read_reports_under_a_name_of_its_own(
    http: httpx2.AsyncClient, path: str, headers: dict[str, str], status: int
) -> None:
    assert (await http.get(path, headers=headers)).status_code == status


async def test_mcp_refuses_the_host_of_a_web_page(http: httpx2.AsyncClient) -> None:
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    accept = {"accept": "application/json, text/event-stream"}

    own = await http.post("/mcp", json=ping, headers=accept)
    foreign = await http.post("/mcp", json=ping, headers={**accept, "host": "evil.example"})

    assert (own.status_code, foreign.status_code) == (200, 421)


async def test_health_says_what_it_checked(http: httpx2.AsyncClient) -> None:
    response = await http.get("/health")

    assert response.status_code == 200
    health = response.json()
    assert health["status"] == "ok"
    assert health["checks"]["redis"]["checked"] == "one read of the report store"
    assert health["checks"]["redis"]["latency_ms"] > 0


async def test_a_frozen_redis_gives_a_clear_error_and_the_reader_recovers_by_itself(
    http: httpx2.AsyncClient,
    reader_url: str,
    redis_server: RedisServer,
    store: RedisReportStore,
    make_report: Callable[[str], bytes],
) -> None:
    symbols = [f"FROZEN{number}" for number in range(40)]
    await store.publish([Publication(symbol, 1, make_report(symbol)) for symbol in symbols])

    async with Client(f"{reader_url}/mcp") as client:
        await client.call_tool("get_report", {"symbol": symbols[0]})
        # Answers must come while Redis stands still, so that it is the reader that ends the wait. Many more
        # calls than a connection pool holds, to see that none of them keeps a connection for ever.
        with frozen(redis_server):
            async with asyncio.timeout(30):
                over_mcp = await client.call_tool("get_report", {"symbol": symbols[0]})
                over_http = [
                    response
                    for _ in range(5)
                    for response in await asyncio.gather(
                        *(http.get("/get_report", params={"symbol": symbol}) for symbol in symbols)
                    )
                ]
                health = await http.get("/health")

    assert over_mcp.is_error
    assert [block.text for block in over_mcp.content if isinstance(block, TextContent)] == [AWAY]
    assert {response.status_code for response in over_http} == {503}
    assert over_http[0].json() == {"error": AWAY}
    assert (health.status_code, health.json()["checks"]["redis"]["error"]) == (503, AWAY)

    await served_again(http, symbols[0])
    # An answer that came too late must not be taken for that to the next question.
    responses = await asyncio.gather(*(http.get("/get_report", params={"symbol": each}) for each in symbols))
    assert [response.json()["symbol"] for response in responses] == symbols


async def test_a_restarted_redis_is_used_again_without_a_restart_of_the_reader(
    http: httpx2.AsyncClient,
    redis_server: RedisServer,
    store: RedisReportStore,
    make_report: Callable[[str], bytes],
) -> None:
    await asyncio.to_thread(redis_server.kill)
    absent = await http.get("/get_report?symbol=BTCUSDT")
    assert (absent.status_code, absent.json()) == (503, {"error": AWAY})

    await asyncio.to_thread(redis_server.start)
    empty = await served_again(http, "BTCUSDT")
    assert empty.content == b"null"

    await store.publish([Publication("BTCUSDT", 1, make_report("BTCUSDT"))])
    read = await http.get("/get_report?symbol=BTCUSDT")
    assert without_ages(read.content) == without_ages(make_report("BTCUSDT"))


async def test_the_reader_writes_nothing_into_redis(http: httpx2.AsyncClient, redis_server: RedisServer) -> None:
    from redis.asyncio import Redis

    redis: Redis = Redis.from_url(redis_server.url)
    async with redis:
        await redis.config_resetstat()
        for path in ("/get_report?symbol=BTCUSDT", "/get_report?symbol=NOSUCH", "/health", "/metrics"):
            await http.get(path)
        commands = set(await redis.info("commandstats"))

    assert "cmdstat_mget" in commands
    assert not commands & {"cmdstat_set", "cmdstat_evalsha", "cmdstat_eval", "cmdstat_del", "cmdstat_expire"}


async def test_metrics_count_what_was_asked(http: httpx2.AsyncClient) -> None:
    await http.get("/get_report?symbol=NOSUCH")

    response = await http.get("/metrics")

    assert response.headers["content-type"].startswith("text/plain; version=")
    assert 'context8_mcp_requests_total{method="GET",status="null"}' in response.text
    assert 'context8_mcp_cache_misses{symbol="unknown"}' in response.text
    assert "NOSUCH" not in response.text


def test_sigterm_stops_the_reader_cleanly(reader: Child) -> None:
    assert reader.stop() == 0
    assert "Traceback" not in reader.log.read_text(encoding="utf-8")
