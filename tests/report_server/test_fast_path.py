"""The fast path answers as the SDK does, or lets the SDK answer: the same requests to both, hundreds of them bent."""

import copy
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest
from mcp_types import Implementation
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import __version__
from app.stores.base import Publication, StoreUnavailableError
from app.stores.memory import MemoryReportStore
from report_server.fast_path import FastPath
from report_server.metrics import ReaderMetrics
from report_server.security import HostGate, transport_security
from report_server.server import NAME, TITLE, build_sdk_app
from report_server.service import ReportService

LEGACY = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"]
MODERN = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": {"name": "mcp", "version": "0.1.0"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
ETAG = 'W/"01e7b720ff566d53-stale"'  # of EMPTY, which never says when it was written
HOSTILE: list[Any] = [
    *(None, True, 0, -1, 1.5, 2**53, 2**63, 2**64, 10**400, "", " ", "BTCUSDT", "btcusdt", "BTC USDT", "NOSUCH", "2.0"),
    *("tools/call", "tools/list", "get_report", "\u0000", "ü", "\ud800", '["BTCUSDT"]', "null", "1", "x" * 5000),
    *([], {}, ["BTCUSDT"], {"symbol": "BTCUSDT"}, [["flow"]], ["flow"], ["nosuch"], "summary", "full"),
]


OTHER_TOOLS: list[tuple[str, dict[str, Any]]] = [
    ("get_reports", {"symbols": ["BTCUSDT", "NOSUCH", "ETHUSDT", "BTCUSDT"]}),
    ("get_reports", {"symbols": ["EMPTY"], "detail": "full"}),
    ("get_reports", {"symbols": ["BTCUSDT", "BROKEN"]}),
    ("get_reports", {"symbols": ["BTCUSDT"], "fields": ["mid_price"]}),
    ("get_reports", {"symbols": ["BTCUSDT"], "fields": ["nosuch"]}),
    ("get_reports", {"symbols": []}),
    ("get_reports", {"symbols": ["BTCUSDT"] * 51}),
    ("list_symbols", {}),
    ("explain_metric", {"name": "micro_price"}),
]


class Request(NamedTuple):
    """One HTTP request; the body comes in `chunks`."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    chunks: tuple[bytes, ...]


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    content: Any


class Pair(NamedTuple):
    """Both servers over one store, and the requests that the SDK's app got to see behind the fast path."""

    fast: ASGIApp
    sdk: ASGIApp
    passed_on: list[Scope]


@pytest.fixture
async def source(memory_store: MemoryReportStore, make_report: Callable[[str], bytes]) -> MemoryReportStore:
    await memory_store.publish([Publication(name, 1, make_report(name)) for name in ("BTCUSDT", "ETHUSDT")])
    await memory_store.publish([Publication("BROKEN", 1, b"[1]"), Publication("EMPTY", 1, b"{}")])
    return memory_store


@asynccontextmanager
async def paired(source: Any) -> AsyncIterator[Pair]:
    now = time.time_ns() // 1_000_000
    security = transport_security("127.0.0.1", [])
    service, metrics = ReportService(source, 5.0, 600_000, wall_ms=lambda: now + 1234), ReaderMetrics()
    sdk = build_sdk_app(service, metrics, security)
    passed_on: list[Scope] = []

    async def spied(scope: Scope, receive: Receive, send: Send) -> None:
        passed_on.append(scope)
        await sdk(scope, receive, send)

    info = Implementation(name=NAME, title=TITLE, version=__version__)
    fast = FastPath(spied, service, metrics, HostGate(security), info)
    async with sdk.router.lifespan_context(sdk):
        yield Pair(fast, sdk, passed_on)
    await service.close()


async def ask(app: ASGIApp, request: Request) -> Reply:
    path, _, query = request.path.partition("?")
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode("latin-1"),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in request.headers],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8080),
    }
    messages = list(arriving(request.chunks))
    sent: list[Message] = []

    async def receive() -> Message:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    if not sent:
        return Reply(0, {}, None)
    headers = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
    body = b"".join(message.get("body", b"") for message in sent[1:])
    assert headers.pop("content-length", str(len(body))) == str(len(body))
    try:
        return Reply(sent[0]["status"], headers, json.loads(body))
    except ValueError:
        return Reply(sent[0]["status"], headers, body)


def arriving(chunks: tuple[bytes, ...]) -> Iterator[Message]:
    for number, chunk in enumerate(chunks, 1):
        yield {"type": "http.request", "body": chunk, "more_body": number < len(chunks)}


def call(version: str | None, tool: str = "get_report", **arguments: Any) -> dict[str, Any]:
    given = arguments or ({"symbol": "BTCUSDT"} if tool == "get_report" else {})
    params: dict[str, Any] = {"name": tool, "arguments": given}
    if version == MODERN:
        params["_meta"] = META
    return {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}


def headers_of(version: str | None, tool: str = "get_report") -> dict[str, str]:
    headers = {
        "host": "127.0.0.1:8080",
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
    }
    if version is not None:
        headers["mcp-protocol-version"] = version
    if version == MODERN:
        headers |= {"mcp-method": "tools/call", "mcp-name": tool}
    return headers


def post(body: Any, headers: dict[str, str] | list[tuple[str, str]]) -> Request:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    pairs = tuple(headers.items() if isinstance(headers, dict) else headers)
    return Request("POST", "/mcp", pairs, (raw,))


def well_formed() -> Iterator[Request]:
    for version in (None, *LEGACY, MODERN):
        headers = headers_of(version)
        for arguments in (
            {"symbol": "BTCUSDT"},
            {"symbol": "ETHUSDT", "detail": "summary"},
            {"symbol": "ETHUSDT", "detail": "full"},
            {"symbol": "BTCUSDT", "fields": ["flow", "depth.imbalance"]},
            {"symbol": "BTCUSDT", "detail": None, "fields": None},
            {"symbol": "BTCUSDT", "fields": ["nosuch"]},
            {"symbol": "BTCUSDT", "fields": []},
            {"symbol": "NOSUCH"},
            {"symbol": "BROKEN"},
            {"symbol": "EMPTY"},
        ):
            yield post(call(version, **arguments), headers)
        for tool, given in OTHER_TOOLS:
            yield post(call(version, tool, **given), headers_of(version, tool))
        for request_id in (0, -5, 2**53, "", "a", 'quote " and \\ and ü', "7"):
            yield post(call(version) | {"id": request_id}, headers)
        for accept in ("application/json", "*/*", "text/event-stream, application/json"):
            yield post(call(version), headers | {"accept": accept})
        yield post(call(version), headers | {"user-agent": "x", "accept-encoding": "gzip", "authorization": "Bearer x"})
        raw = json.dumps(call(version)).encode()
        yield Request("POST", "/mcp", tuple(headers.items()), (raw[:1], raw[1:50], b"", raw[50:], b""))
        noted = call(version)
        noted["params"]["_meta"] = noted["params"].get("_meta", {}) | {"vendor/tool-use": "abc"}
        yield post(noted, headers)
    for query in ("BTCUSDT", "ETHUSDT", "NOSUCH", "BROKEN", "EMPTY"):
        for known in ("", "*", 'W/"0"', ETAG, f'"x" , {ETAG}', ETAG.removeprefix("W/")):
            headers = {"host": "localhost:1"} | ({"if-none-match": known} if known else {})
            yield Request("GET", f"/get_report?symbol={query}", tuple(headers.items()), (b"",))


def paths(node: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    for key, value in node.items() if isinstance(node, dict) else ():
        yield from paths(value, (*at, key))


def changed(body: dict[str, Any], at: tuple[Any, ...], value: Any = None, *, drop: bool = False) -> Any:
    if not at:
        return value
    bent = copy.deepcopy(body)
    node = bent
    for key in at[:-1]:
        node = node[key]
    if drop:
        del node[at[-1]]
    else:
        node[at[-1]] = value
    return bent


def bent_arguments(version: str | None) -> Iterator[Request]:
    """Yield calls of the other tools with every argument replaced by every hostile value."""
    for tool, argument in (
        *(("get_reports", "symbols"), ("get_reports", "detail"), ("get_reports", "fields"), ("get_reports", "x")),
        *(("explain_metric", "name"), ("explain_metric", "x"), ("list_symbols", "x"), ("nosuch", "x")),
    ):
        needed = {"symbols": ["BTCUSDT"]} if tool == "get_reports" else {}
        values = [*HOSTILE, ["BTCUSDT", 1], ["btc"], "health", "poc", "WALLS", "true", '"health"', "{}"]
        for value in values:
            yield post(call(version, tool, **needed | {argument: value}), headers_of(version, tool))
            yield post(call(version, tool, **needed | {argument: value}), headers_of(version))
        body = call(version, tool)
        bares: tuple[Any, ...] = (None, [], "x")
        for bare in bares:
            yield post(changed(body, ("params", "arguments"), bare), headers_of(version, tool))
        yield post(changed(body, ("params", "arguments"), drop=True), headers_of(version, tool))


def bent_bodies(version: str | None) -> Iterator[bytes]:
    body = call(version)
    for at in paths(body):
        if at:
            yield json.dumps(changed(body, at, drop=True)).encode()
            yield json.dumps(changed(body, (*at[:-1], "extra"), 1)).encode()
        for value in HOSTILE:
            yield json.dumps(changed(body, at, value)).encode()
    for argument in ("detail", "fields"):
        for value in HOSTILE:
            yield json.dumps(changed(body, ("params", "arguments", argument), value)).encode()
    tokens: tuple[Any, ...] = (1, "a", [], None)
    for token in tokens:
        bent = copy.deepcopy(body)
        bent["params"]["_meta"] = bent["params"].get("_meta", {}) | {"progressToken": token}
        yield json.dumps(bent).encode()
    raw = json.dumps(body).encode()
    yield from (
        b"",
        b" ",
        b"{",
        b"null",
        b"[]",
        b"[" + raw + b"]",
        raw + raw,
        raw + b"x",
        b"\xef\xbb\xbf" + raw,
        raw[:-1],
    )
    yield from (b"  " + raw + b"\n", raw.replace(b"7", b"NaN"), raw.replace(b"7", b"1e3"), raw.replace(b"7", b"7.0"))
    yield raw.replace(b"BTCUSDT", b"\xff\xfe")
    yield raw.replace(b'"id": 7', b'"id": 7, "id": 8')
    yield raw.replace(b'"symbol"', b'"symb\\u006fl"')
    yield raw.replace(b"BTCUSDT", b"\\u0042TCUSDT")
    yield raw.replace(b'"BTCUSDT"', b'"BTCUSDT", "symbol": "ETHUSDT"')
    yield b"[" * 3000


def bent_headers(version: str | None) -> Iterator[list[tuple[str, str]]]:
    headers = list(headers_of(version).items())
    values = ("", "x", "text/html", "application/json", "2025-11-25", MODERN, "2030-01-01", "127.0.0.1", "evil.example")
    for number, (name, value) in enumerate(headers):
        rest = headers[:number] + headers[number + 1 :]
        yield rest
        yield [*headers, (name, value)]
        yield [*headers, (name, "x")]
        yield [(name, "x"), *headers]
        yield [*rest, (name, value.upper())]
        yield [*rest, (name, f"{value}; charset=utf-8")]
        yield from ([*rest, (name, each)] for each in values)
    for extra in (
        *(("origin", "http://localhost:3000"), ("origin", "https://evil.example"), ("origin", "null"), ("origin", "")),
        *(("mcp-param-symbol", "X"), ("mcp-method", "tools/list"), ("mcp-name", "list_symbols"), ("mcp-name", "x")),
        *(
            ("mcp-session-id", "x"),
            ("content-encoding", "gzip"),
            ("authorization", "Bearer x"),
            ("content-length", "x"),
        ),
        *(("mcp-name", "=?base64?Z2V0X3JlcG9ydA==?="), ("transfer-encoding", "chunked"), ("content-length", "70000")),
    ):
        yield [*headers, extra]
    yield []


def bent() -> Iterator[Request]:
    for version in (None, "2025-11-25", MODERN):
        headers = headers_of(version)
        yield from (post(body, headers) for body in bent_bodies(version))
        yield from (post(call(version), each) for each in bent_headers(version))
        yield from bent_arguments(version)
        raw = json.dumps(call(version)).encode()
        yield Request("POST", "/mcp", tuple(headers.items()), (b" " * 3000, b" " * 3000, raw))
        yield from (Request(method, "/mcp", tuple(headers.items()), (raw,)) for method in ("PUT", "DELETE", "OPTIONS"))
        yield from (
            Request("POST", path, tuple(headers.items()), (raw,)) for path in ("/mcp/", "/MCP", "/", "/get_report")
        )
    host = (("host", "127.0.0.1:8080"),)
    for query in (
        *(
            "",
            "?",
            "?symbol",
            "?symbol=",
            "?symbol=btc",
            "?symbol=A%42",
            "?symbol=BTCUSDT&symbol=ETHUSDT",
            "?Symbol=BTCUSDT",
        ),
        *("?symbol=BTCUSDT&detail=summary", "?symbol=BTCUSDT&fields=flow,depth.imbalance", "?symbol=BTCUSDT&x=1"),
        *("?symbol=BTCUSDT%00", "?symbol=BTCUSDT#x", "?symbol=\xff", "?symbol=BTC+USDT", "?symbol=BTCUSDT&detail=x"),
    ):
        yield Request("GET", f"/get_report{query}", host, (b"",))
    ok = "/get_report?symbol=BTCUSDT"
    for extra in (
        ("origin", "https://evil.example"),
        ("if-none-match", "*"),
        ("if-none-match", '"x"'),
        ("host", "evil"),
    ):
        yield Request("GET", ok, (*host, extra), (b"",))
    yield from (
        Request("GET", ok, (("host", name),), (b"",)) for name in ("", "evil.example", "127.0.0.1", "localhost")
    )
    yield Request("GET", ok, (), (b"",))
    yield Request("HEAD", ok, host, (b"",))


async def test_well_formed_calls_are_answered_by_the_fast_path_as_the_sdk_would(source: MemoryReportStore) -> None:
    requests = list(well_formed())
    assert len(requests) > 100

    async with paired(source) as pair:
        for request in requests:
            assert await ask(pair.fast, request) == await ask(pair.sdk, request), request
        assert not pair.passed_on


async def test_bent_requests_are_answered_as_the_sdk_answers_them(source: MemoryReportStore) -> None:
    requests = list(bent())
    assert len(requests) > 1000

    async with paired(source) as pair:
        for request in requests:
            assert await ask(pair.fast, request) == await ask(pair.sdk, request), request
        assert len(pair.passed_on) > 0.8 * len(requests), "whatever is unusual is the SDK's"


async def test_a_store_that_is_away_is_answered_as_the_sdk_would() -> None:
    class Away:
        async def read_many(self, symbols: Any) -> Any:
            raise StoreUnavailableError("gone")

        async def symbols(self, limit: int) -> list[str]:
            return []

    async with paired(Away()) as pair:
        for request in list(well_formed())[:5]:
            reply = await ask(pair.fast, request)
            assert reply == await ask(pair.sdk, request)
            assert reply.content["result"]["isError"]
        assert not pair.passed_on
