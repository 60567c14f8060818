"""Load for a reader: so many callers, each sending its next request when the last was answered.

A process of its own, so that its work is not mixed up with the reader's.
`python reader_load.py URL KIND CALLERS SECONDS` prints one JSON object.
Kinds: `get`; `mcp` and `modern` call get_report in protocol 2025-11-25 and 2026-07-28; the others are what else a
client asks for, in 2025-11-25.
"""

import asyncio
import itertools
import json
import math
import sys
import time
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import urlsplit

import uvloop

SYMBOLS = [f"BENCH{number}" for number in range(10)]
_META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "load", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


_HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "load", "version": "1"}}

# Method and parameters for one symbol, and a word that only a good answer has: an error, or null, does not.
KINDS: dict[str, tuple[str, Callable[[str], dict[str, Any]], bytes]] = {
    "mcp": ("tools/call", lambda symbol: {"name": "get_report", "arguments": {"symbol": symbol}}, b"venue"),
    "get_report, summary": (
        "tools/call",
        lambda symbol: {"name": "get_report", "arguments": {"symbol": symbol, "detail": "summary"}},
        b"mid_price",
    ),
    "get_report, wrong symbol": (
        "tools/call",
        lambda symbol: {"name": "get_report", "arguments": {"symbol": symbol.lower()}},
        b"allowed: ",
    ),
    "get_reports": ("tools/call", lambda _: {"name": "get_reports", "arguments": {"symbols": SYMBOLS}}, b"mid_price"),
    "list_symbols": ("tools/call", lambda _: {"name": "list_symbols", "arguments": {}}, b"BENCH9"),
    "resources/read": ("resources/read", lambda symbol: {"uri": f"report://{symbol}"}, b"venue"),
    "tools/list": ("tools/list", lambda _: {}, b"inputSchema"),
    "initialize": ("initialize", lambda _: _HELLO, b"serverInfo"),
}


def requests(kind: str, host: str) -> list[bytes]:
    """Return one request for each symbol."""
    if kind == "get":
        return [f"GET /get_report?symbol={symbol} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode() for symbol in SYMBOLS]
    modern = kind == "modern"
    method, params_of, _ = KINDS["mcp" if modern else kind]
    head = [
        "POST /mcp HTTP/1.1",
        f"Host: {host}",
        "Content-Type: application/json",
        "Accept: application/json, text/event-stream",
        f"MCP-Protocol-Version: {'2026-07-28' if modern else '2025-11-25'}",
        *(["Mcp-Method: tools/call", "Mcp-Name: get_report"] if modern else []),
    ]
    made = []
    for number, symbol in enumerate(SYMBOLS):
        params = params_of(symbol) | ({"_meta": _META} if modern else {})
        body = json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).encode()
        made.append("\r\n".join([*head, f"Content-Length: {len(body)}", "", ""]).encode() + body)
    return made


class Caller(asyncio.Protocol):
    """One connection; `seen` gets (time of the answer, seconds it took, whether it was a report)."""

    def __init__(self, messages: list[bytes], word: bytes, first: int, seen: list[tuple[float, float, bool]]) -> None:
        self._messages = itertools.islice(itertools.cycle(messages), first, None)
        self._word = word
        self._seen = seen
        self._buffer = b""
        self._sent = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        self._ask()

    def _ask(self) -> None:
        assert self._transport is not None
        self._sent = time.perf_counter()
        self._transport.write(next(self._messages))

    def data_received(self, data: bytes) -> None:
        """Wait for the whole answer, then ask again."""
        self._buffer += data
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = self._buffer[:head_end].lower()
        at = head.index(b"content-length:") + 15
        length = int(head[at : at + 12].split(b"\r\n")[0])
        if len(self._buffer) < head_end + 4 + length:
            return
        good = head.startswith(b"http/1.1 200") and self._word in self._buffer
        self._buffer = b""
        now = time.perf_counter()
        self._seen.append((now, now - self._sent, good))
        self._ask()

    def close(self) -> None:
        """End."""
        if self._transport is not None:
            self._transport.abort()


async def load(url: str, kind: str, callers: int, seconds: float) -> dict[str, Any]:
    """Return calls, calls a second, and latencies in ms."""
    parts = urlsplit(url)
    messages = requests(kind, parts.netloc)
    word = KINDS[kind][2] if kind in KINDS else b"venue"
    seen: list[tuple[float, float, bool]] = []
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(
            lambda number=number: Caller(messages, word, number, seen),  # type: ignore[misc] # mypy cannot infer it
            str(parts.hostname),
            int(parts.port or 80),
        )
        for number in range(callers)
    ]
    await asyncio.sleep(0.3)  # connections and caches are warm
    seen.clear()
    started = time.perf_counter()
    await asyncio.sleep(seconds)
    lasted = time.perf_counter() - started
    for _, caller in made:
        caller.close()
    # Not one answer in all that time: longer than can be told.
    took = sorted(took for _, took, _ in seen) or [math.inf]
    errors = [at for at, _, good in seen if not good]
    return {
        "calls": len(seen),
        "per_sec": len(seen) / lasted,
        "errors": len(errors),
        "p50_ms": took[len(took) // 2] * 1000,
        "p99_ms": took[int(len(took) * 0.99)] * 1000,
        "max_ms": took[-1] * 1000,
        "first_error": errors[0] if errors else None,
        # The first good answer after which there was no bad one; `None` if there were only bad ones to the end.
        "good_again": next((at for at, _, good in seen if good and errors and at > errors[-1]), None),
    }


if __name__ == "__main__":
    address, name, count, duration = sys.argv[1:]
    print(json.dumps(uvloop.run(load(address, name, int(count), float(duration)))))
