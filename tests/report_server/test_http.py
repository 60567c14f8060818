"""Plain HTTP, on a reader process with a Redis of its own."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from jsonschema import Draft202012Validator

from app.stack.process import Child
from app.stores.base import Publication
from app.stores.redis import RedisReportStore
from report_server.arguments import MOST_SYMBOLS
from report_server.protocol import MAX_HEAD_BYTES
from support.ages import without_ages
from support.workers import eventually

pytestmark = pytest.mark.stack


@pytest.fixture
async def http(reader_url: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=reader_url, timeout=10, trust_env=False) as client:
        yield client


@pytest.fixture
async def published(store: RedisReportStore, make_report: Callable[[str], bytes]) -> RedisReportStore:
    await store.publish([Publication(name, 1, make_report(name)) for name in ("BTCUSDT", "ETHUSDT")])
    return store


@pytest.mark.usefixtures("published")
async def test_an_unchanged_report_is_not_sent_again_but_its_age_is(http: httpx2.AsyncClient) -> None:
    first = await http.get("/get_report?symbol=BTCUSDT")
    again = await http.get("/get_report?symbol=BTCUSDT", headers={"if-none-match": f'"x", {first.headers["etag"]}'})

    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert int(again.headers["x-data-age-ms"]) >= int(first.headers["x-data-age-ms"]) >= 42
    assert first.json()["data_age_ms"] == int(first.headers["x-data-age-ms"])
    assert first.headers["cache-control"] == "no-cache"


async def test_a_changed_report_has_another_version(
    http: httpx2.AsyncClient, published: RedisReportStore, make_report: Callable[[str], bytes]
) -> None:
    first = await http.get("/get_report?symbol=BTCUSDT")
    changed = make_report("BTCUSDT").replace(b'"offset":123456', b'"offset":123457')
    await published.publish([Publication("BTCUSDT", 1, changed)])

    again = await http.get("/get_report?symbol=BTCUSDT", headers={"if-none-match": first.headers["etag"]})

    assert again.status_code == 200
    assert again.headers["etag"] != first.headers["etag"]


@pytest.mark.parametrize("path", ["/get_report?symbol=NOSUCH", "/get_report?symbol=x", "/symbols", "/reports"])
async def test_what_has_no_version_is_kept_by_nobody(http: httpx2.AsyncClient, path: str) -> None:
    response = await http.get(path, headers={"if-none-match": "*"})

    assert response.status_code in (200, 400)
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.usefixtures("published")
async def test_reports_gives_summaries_of_several_symbols(http: httpx2.AsyncClient) -> None:
    response = await http.get("/reports?symbols=BTCUSDT,NOSUCH,ETHUSDT,BTCUSDT")

    reports = response.json()["reports"]
    assert [*reports] == ["BTCUSDT", "NOSUCH", "ETHUSDT"]
    assert reports["NOSUCH"] is None
    assert reports["BTCUSDT"]["spread_bps"] == 0.0016330638
    assert "top_bids" not in reports["BTCUSDT"]["depth"]


@pytest.mark.usefixtures("published")
async def test_detail_and_fields_choose(http: httpx2.AsyncClient, make_report: Callable[[str], bytes]) -> None:
    full = (await http.get("/reports?symbols=ETHUSDT&detail=full")).json()["reports"]["ETHUSDT"]
    part = (await http.get("/get_report?symbol=ETHUSDT&fields=flow,depth.imbalance")).json()

    assert without_ages(full) == without_ages(make_report("ETHUSDT"))
    assert part["depth"] == {"imbalance": 0.2007}
    assert part["ingestion"]["status"] == "ok"
    assert part["data_age_ms"] >= 42


@pytest.mark.usefixtures("published")
async def test_symbols_lists_status_and_age(http: httpx2.AsyncClient) -> None:
    async def both() -> dict[str, Any] | None:
        content: dict[str, Any] = (await http.get("/symbols")).json()
        found = {each["symbol"]: each for each in content["symbols"]}
        return found if {"BTCUSDT", "ETHUSDT"} <= found.keys() else None

    found = await eventually(both, "both symbols are listed", 10)

    assert found["BTCUSDT"]["status"] == "ok"
    assert found["BTCUSDT"]["age_ms"] >= 42


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("/reports", "symbols None"),
        ("/reports?symbols=", "symbol ''"),
        ("/reports?symbols=btc", "symbol 'btc'"),
        (f"/reports?symbols={','.join(['AA'] * (MOST_SYMBOLS + 1))}", f"symbols with {MOST_SYMBOLS + 1}"),
        ("/get_report?symbol=BTCUSDT&detail=x", "detail 'x'"),
        ("/get_report?symbol=BTCUSDT&fields=nosuch", "field 'nosuch'"),
        ("/get_report?symbol=AA&symbol=BB", "symbol of type list"),
        ("/stream", "symbols None"),
        ("/stream?symbols=A,b", "symbol 'A'"),
    ],
)
async def test_a_bad_argument_is_named_with_what_is_allowed(http: httpx2.AsyncClient, path: str, word: str) -> None:
    response = await http.get(path)

    assert response.status_code == 400
    assert word in response.json()["error"]
    assert "allowed: " in response.json()["error"]


async def test_live_and_ready_are_told_apart(http: httpx2.AsyncClient) -> None:
    live, ready, health = [await http.get(path) for path in ("/health/live", "/health/ready", "/health")]

    assert live.json() == {"status": "ok"}
    assert ready.json()["checks"]["redis"]["error"] is None
    assert health.json().keys() == ready.json().keys()


async def events(response: httpx2.Response) -> AsyncIterator[tuple[str, Any]]:
    """Yield name and data of each event."""
    name = ""
    async for line in response.aiter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


async def test_a_stream_sends_each_symbol_at_once_and_again_when_it_changes(
    http: httpx2.AsyncClient, published: RedisReportStore, make_report: Callable[[str], bytes]
) -> None:
    async with asyncio.timeout(20), http.stream("GET", "/stream?symbols=BTCUSDT,NOSUCH&fields=provenance") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-store"
        stream = events(response)
        first = {name: data async for name, data in _first(stream, 2)}
        # Another test may have written a later one, behind which no answer falls.
        assert first["report"]["provenance"]["offset"] in (123_456, 123_457)
        assert first["absent"] == {"symbol": "NOSUCH"}

        changed = make_report("BTCUSDT").replace(b'"offset":123456', b'"offset":123500')
        await published.publish([Publication("BTCUSDT", 1, changed)])
        name, data = await anext(stream)
        assert (name, data["provenance"]["offset"]) == ("report", 123_500)

        await published.publish([Publication("NOSUCH", 1, make_report("NOSUCH"))])
        name, data = await anext(stream)
        assert (name, data["symbol"]) == ("report", "NOSUCH")


async def _first(stream: AsyncIterator[tuple[str, Any]], count: int) -> AsyncIterator[tuple[str, Any]]:
    for _ in range(count):
        yield await anext(stream)


async def test_no_web_page_of_another_origin_gets_anything(http: httpx2.AsyncClient) -> None:
    origin = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    replies = [
        await http.request(method, path, headers=origin)
        for path in ("/mcp", "/get_report?symbol=BTCUSDT", "/stream?symbols=BTCUSDT", "/symbols", "/openapi.json")
        for method in ("OPTIONS", "GET", "POST")
    ]

    assert {reply.status_code for reply in replies} <= {400, 403, 405}
    assert not any(name.startswith("access-control") for reply in replies for name in reply.headers)


@pytest.mark.parametrize("pad", [100_000, 10_000_000])
async def test_a_body_without_end_is_refused(http: httpx2.AsyncClient, pad: int) -> None:
    call = {"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"x": "x" * pad}}

    response = await http.post("/mcp", json=call, headers={"accept": "application/json, text/event-stream"})

    assert response.status_code == 413


def test_a_head_without_end_is_cut_off(reader_url: str) -> None:
    address = urlsplit(reader_url)
    with socket.create_connection((str(address.hostname), int(address.port or 80)), timeout=10) as connection:
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nX: ")
        sent = 0
        with suppress(OSError):
            while sent < 100 * MAX_HEAD_BYTES:
                connection.sendall(b"x" * 4096)
                sent += 4096
    assert sent < 100 * MAX_HEAD_BYTES


async def test_openapi_describes_every_route_and_what_it_answers(
    http: httpx2.AsyncClient, published: RedisReportStore
) -> None:
    document = (await http.get("/openapi.json")).json()
    pages = {
        "/get_report": ["?symbol=BTCUSDT", "?symbol=NOSUCH", "?symbol=x", "?symbol=BTCUSDT&detail=summary"],
        "/reports": ["?symbols=BTCUSDT,NOSUCH", "?symbols=BTCUSDT&detail=full", ""],
        "/symbols": [""],
        "/health": [""],
        "/health/live": [""],
        "/health/ready": [""],
        "/openapi.json": [""],
        "/metrics": [""],
        "/stream": [""],
    }
    assert pages.keys() == document["paths"].keys()

    for path, queries in pages.items():
        for query in queries:
            response = await http.get(path + query)
            described = document["paths"][path]["get"]["responses"][str(response.status_code)]
            media = response.headers["content-type"].partition(";")[0]
            schema = described["content"][media]["schema"]
            if media == "application/json":
                Draft202012Validator(schema | {"components": document["components"]}).validate(response.json())


async def test_a_foreign_host_is_refused_and_not_written_down(http: httpx2.AsyncClient, reader: Child) -> None:
    assert (await http.get("/symbols", headers={"host": "evil.example"})).status_code == 421

    assert "evil.example" not in reader.log.read_text(encoding="utf-8")
