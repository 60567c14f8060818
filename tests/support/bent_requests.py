"""Requests to the reader that are bent: every member replaced by every hostile value, headers doubled, bodies cut."""

import copy
import json
from collections.abc import Iterator
from typing import Any

from support.mcp_requests import MODERN, Request, call, headers_of, post, request

HOSTILE: list[Any] = [
    *(None, True, 0, -1, 1.5, 2**53, 2**63, 2**64, 10**400, "", " ", "BTCUSDT", "btcusdt", "BTC USDT", "NOSUCH", "2.0"),
    *("tools/call", "tools/list", "get_report", "\u0000", "ü", "\ud800", '["BTCUSDT"]', "null", "1", "x" * 5000),
    *([], {}, ["BTCUSDT"], {"symbol": "BTCUSDT"}, [["flow"]], ["flow"], ["nosuch"], "summary", "full"),
]
# Texts that are JSON, nearly so, or only look like it: the SDK decodes some of them.
LIKE_JSON = (" [1]", "\t{}", "true", " false\n", "null", "nullx", "\u00a0null", "\ufeff{}", "[", "1.5", "-1", '"a"')


def paths(node: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to every member of a message."""
    yield at
    for key, value in node.items() if isinstance(node, dict) else ():
        yield from paths(value, (*at, key))


def changed(body: dict[str, Any], at: tuple[Any, ...], value: Any = None, *, drop: bool = False) -> Any:
    """Return the message with the member at `at` replaced or left out."""
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
        values = [*HOSTILE, *LIKE_JSON, ["BTCUSDT", 1], ["btc"], "health", "poc", "WALLS", "true", '"health"', "{}"]
        for value in values:
            yield post(call(version, tool, **needed | {argument: value}), headers_of(version, tool))
            yield post(call(version, tool, **needed | {argument: value}), headers_of(version))
        body = call(version, tool)
        bares: tuple[Any, ...] = (None, [], "x")
        for bare in bares:
            yield post(changed(body, ("params", "arguments"), bare), headers_of(version, tool))
        yield post(changed(body, ("params", "arguments"), drop=True), headers_of(version, tool))


def bent_reads(version: str | None) -> Iterator[Request]:
    """Yield reads and lists with every member replaced by every hostile value, under headers that fit or do not."""
    uri = "report://BTCUSDT"
    headers = headers_of(version, uri, "resources/read")
    body = request(version, "resources/read", uri=uri)
    uris = ("report://btc", "report://", "REPORT://BTCUSDT", "report:BTCUSDT", "report://BTCUSDT/", "report://A%42")
    for value in (*HOSTILE, *uris, "schema://report", "report://BTCUSDT\n", "report://BTCUSDT?x=1"):
        bent = changed(body, ("params", "uri"), value)
        yield post(bent, headers)
        if isinstance(value, str) and value.isprintable() and value.isascii():
            yield post(bent, headers_of(version, value, "resources/read"))
        yield post(changed(body, ("params", "extra"), value), headers)
        yield post(changed(body, ("params",), value), headers)
    for value in HOSTILE[::4]:
        for method in ("tools/list", "prompts/get", "initialize", "notifications/initialized"):
            bare = request(version, method)
            yield post(changed(bare, ("params",), value), headers_of(version, None, method))
            yield post(changed(bare, ("id",), value), headers_of(version, None, method))
            yield post(changed(bare, ("extra",), value), headers_of(version, None, method))
    yield post(body, headers_of(version, uri))
    yield post(body, headers_of(version, None, "resources/read"))
    yield post(request(version, "tools/list"), headers_of(version, "get_report", "tools/list"))
    yield post(request(version, "tools/list"), headers_of(version))


def nested(body: dict[str, Any]) -> Iterator[bytes]:
    """Yield the message with each member replaced by lists and objects in each other, some deeper than stacks."""
    for at in paths(body):
        bent = json.dumps(changed(body, at, "here") if at else "here")
        for depth in (100, 900, 1500, 1950, 10_000):
            for opened, closed in (("[", "]"), ('{"a":', "}")):
                yield bent.replace('"here"', f"{opened * depth}1{closed * depth}").encode()


def bent_bodies(version: str | None) -> Iterator[bytes]:
    """Yield bodies of a call of get_report with every member left out or replaced, and some that are no message."""
    body = call(version)
    for at in paths(body):
        if at:
            yield json.dumps(changed(body, at, drop=True)).encode()
            yield json.dumps(changed(body, (*at[:-1], "extra"), 1)).encode()
        for value in HOSTILE:
            yield json.dumps(changed(body, at, value)).encode()
    for argument in ("symbol", "detail", "fields"):
        for value in (*HOSTILE, *LIKE_JSON):
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
    for digits in (b"9" * 3000, b"-" + b"9" * 10_000, b"1." + b"9" * 10_000, b"1e99999"):
        yield raw.replace(b"7", digits)
        yield raw.replace(b'"BTCUSDT"', digits)
    yield b"[" * 3000
    yield from nested(body)


def bent_headers(version: str | None) -> Iterator[list[tuple[str, str]]]:
    """Yield the headers of a call with each left out, doubled or changed, and with some added."""
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
    """Yield all of that, and GETs and addresses besides."""
    for version in (None, "2025-11-25", MODERN):
        headers = headers_of(version)
        yield from (post(body, headers) for body in bent_bodies(version))
        yield from (post(call(version), each) for each in bent_headers(version))
        yield from bent_arguments(version)
        yield from bent_reads(version)
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
