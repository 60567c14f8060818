"""Requests to the reader as clients send them, in every protocol version: calls, reads, lists, greetings, GETs."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

LEGACY = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"]
MODERN = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": {"name": "mcp", "version": "0.1.0"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
ETAG = 'W/"01e7b720ff566d53-stale"'  # of EMPTY, which never says when it was written

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


def request(version: str | None, method: str, **params: Any) -> dict[str, Any]:
    """Return the message for a method, with the envelope of the newest protocol where that is spoken."""
    if version == MODERN:
        params["_meta"] = META
    return {"jsonrpc": "2.0", "id": 7, "method": method} | ({"params": params} if params else {})


def call(version: str | None, tool: str = "get_report", **arguments: Any) -> dict[str, Any]:
    """Return the message for a tool."""
    given = arguments or ({"symbol": "BTCUSDT"} if tool == "get_report" else {})
    return request(version, "tools/call", name=tool, arguments=given)


def headers_of(version: str | None, tool: str | None = "get_report", method: str = "tools/call") -> dict[str, str]:
    """Return the headers that go with a message; `tool` is its name, or the address of what is read."""
    headers = {
        "host": "127.0.0.1:8080",
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
    }
    if version is not None:
        headers["mcp-protocol-version"] = version
    if version == MODERN:
        headers |= {"mcp-method": method} | ({"mcp-name": tool} if tool is not None else {})
    return headers


def post(body: Any, headers: dict[str, str] | list[tuple[str, str]]) -> Request:
    """Return the request that carries a message, or bytes as they are."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    pairs = tuple(headers.items() if isinstance(headers, dict) else headers)
    return Request("POST", "/mcp", pairs, (raw,))


def read(version: str | None, uri: str) -> Request:
    """Return the request that reads a resource."""
    return post(request(version, "resources/read", uri=uri), headers_of(version, uri, "resources/read"))


def steady() -> Iterator[Request]:
    """Yield what is always answered alike: greetings, lists, prompts."""
    hello: dict[str, Any] = {"capabilities": {"roots": {"listChanged": True}}}
    hello["clientInfo"] = {"name": "x", "version": "1"}
    for version in (None, *LEGACY, MODERN):
        asked: list[tuple[str, str | None, dict[str, Any]]] = [
            ("prompts/get", "market_check", {"name": "market_check", "arguments": {"symbol": "BTCUSDT"}}),
            *((method, None, {}) for method in ("tools/list", "resources/list", "resources/templates/list")),
            *((method, None, {}) for method in ("prompts/list", "server/discover" if version == MODERN else "ping")),
        ]
        if version != MODERN:
            asked += [("initialize", None, hello | {"protocolVersion": each}) for each in (*LEGACY, "1999-01-01")]
        for method, name, params in asked:
            yield post(request(version, method, **params), headers_of(version, name, method))
        yield read(version, "schema://report")
        noted = request(version, "notifications/initialized")
        del noted["id"]
        yield post(noted, headers_of(version, None, "notifications/initialized"))


def well_formed() -> Iterator[Request]:
    """Yield calls and reads that nothing is unusual about, whatever they ask for."""
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
        for symbol in ("BTCUSDT", "ETHUSDT", "NOSUCH", "BROKEN", "EMPTY"):
            yield read(version, f"report://{symbol}")
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
