"""Symbols that nobody should send, each different, and messages of MCP that are broken by chance."""

import json
import random
from collections.abc import Iterator
from typing import Any

MARK = "zqx"  # in every symbol, so that its traces can be found
_STEMS = (
    *("", " ", "BTC", "btc", "*", "?", "[a-z]", "report:", "report:BTCUSDT:heavy", "../", "..\\", "/etc/passwd", "%"),
    *("\r\nSET x 1\r\n", "\n", "\x00", "\x1b[2J", "\x7f", "\u202e", "\ufeff", "ü", "漢", "\U0001f4a9", "e\u0301", "İ"),
    *(
        "{}",
        "{0}",
        "${x}",
        "$(id)",
        "`id`",
        "'",
        '"',
        "\\",
        ";",
        "|",
        "<b>",
        "--",
        "' OR 1=1",
        "%s%n",
        "\\u0000",
        "\ud7ff",
    ),
    *(
        "-1",
        "1e309",
        "NaN",
        "null",
        "true",
        "[]",
        "0x41",
        "A" * 20,
        "A" * 1000,
        "Ａ",
        "١٢",
        "BTCUSDT\n",
        "BTCUSDT ",
        "\t",
    ),
)


def symbols(count: int) -> list[str]:
    """Return so many hostile symbols, each once, always the same."""
    found = [f"{_STEMS[number % len(_STEMS)]}{MARK}{number}" for number in range(count)]
    assert len(set(found)) == count
    return found


def broken_messages(count: int, seed: int = 7) -> Iterator[bytes]:
    """Yield messages of MCP with bytes flipped, cut out, doubled or put in, always the same."""
    rng = random.Random(seed)
    whole = [json.dumps(message).encode() for message in _MESSAGES]
    for _ in range(count):
        message = bytearray(rng.choice(whole))
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(message) + 1)
            piece = bytes(rng.choice(_PIECES))
            message[at : at + rng.choice((0, 0, 1, 5, 50))] = piece
        yield bytes(message)


def _request(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


_MESSAGES: tuple[dict[str, Any], ...] = (
    _request("tools/call", name="get_report", arguments={"symbol": "BTCUSDT", "detail": "summary"}),
    _request("tools/call", name="get_reports", arguments={"symbols": ["BTCUSDT"], "fields": ["flow"]}),
    _request("tools/call", name="explain_metric", arguments={"name": "micro_price"}),
    _request("tools/list"),
    _request("resources/read", uri="report://BTCUSDT"),
    _request("resources/subscribe", uri="report://BTCUSDT"),
    _request("prompts/get", name="market_check", arguments={"symbol": "BTCUSDT"}),
    _request("completion/complete", ref={"type": "ref/prompt", "name": "x"}, argument={"name": "a", "value": "b"}),
    _request("initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "x", "version": "1"}),
    _request("subscriptions/listen", notifications={"resourceSubscriptions": ["report://BTCUSDT"]}),
    {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}},
    {"jsonrpc": "2.0", "id": 1, "result": {}},
    {"jsonrpc": "2.0", "id": 1, "error": {"code": -32603, "message": "x"}},
)
_PIECES = (
    *(
        b"",
        b"\x00",
        b"\xff",
        b"\xed\xa0\x80",
        b"\xef\xbb\xbf",
        b'"',
        b"\\",
        b"\\ud800",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
    ),
    *(b"1e400", b"-0", b"9" * 400, b"null", b"true", b"[" * 200, b'{"a":' * 200, b'"x":1,', b'"jsonrpc":"1.0",', b"/*"),
)
