"""Binance's stream messages as bytes, and what the data client made of them in short."""

import json
from typing import Any

from nautilus_trader.model.data import OrderBookDeltas

E = 1_723_161_255_208


def diff(first: int, final: int, symbol: str = "BTCUSDT", event_time: int = E, price: str = "99.5") -> bytes:
    return json.dumps(
        {
            "stream": f"{symbol.lower()}@depth@100ms",
            "data": {
                "e": "depthUpdate", "E": event_time, "s": symbol, "U": first, "u": final,
                "b": [[price, "3.0"]], "a": [],
            },
        }
    ).encode()  # fmt: skip


def top(update_id: int, symbol: str = "BTCUSDT") -> bytes:
    levels = {"lastUpdateId": update_id, "bids": [["99.5", "3.0"]], "asks": [["101.0", "2.0"]]}
    return json.dumps({"stream": f"{symbol.lower()}@depth20@100ms", "data": levels}).encode()


def ticker(update_id: int, bid: str, quantity: str) -> bytes:
    best = {"u": update_id, "s": "BTCUSDT", "b": bid, "B": quantity, "a": "101.0", "A": "2.0"}
    return json.dumps({"stream": "btcusdt@bookTicker", "data": best}).encode()


def trade(trade_id: int, event_time: int = E, symbol: str = "BTCUSDT") -> bytes:
    data = {
        "e": "trade", "E": event_time, "s": symbol, "t": trade_id, "p": "99.5", "q": "0.1",
        "T": event_time - 1, "m": True, "M": True,
    }  # fmt: skip
    return json.dumps({"stream": f"{symbol.lower()}@trade", "data": data}).encode()


def books(received: list[Any], symbol: str = "BTCUSDT") -> list[tuple[str, int]]:
    """What was sent on of the symbol's book, in short."""
    found = []
    for data in received:
        if isinstance(data, OrderBookDeltas) and data.instrument_id.symbol.value == symbol:
            names = [delta.action.name for delta in data.deltas]
            kind = "unknown" if names == ["CLEAR"] else "snapshot" if names[0] == "CLEAR" else "diff"
            found.append((kind, data.sequence))
    return found
