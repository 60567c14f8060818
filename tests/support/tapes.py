"""The recorded tape as events, spliced as the live client does it, without NautilusTrader or Kafka."""

import gzip
import json
from pathlib import Path
from typing import Any

from app.microstructure.events import (
    DeltasPayload,
    Event,
    Nanos,
    OrderBookDeltas,
    Side,
    TradePayload,
    TradeTick,
)

_MS = 1_000_000
Pairs = list[list[str]]


def tape_events(path: Path, symbol: str = "BTCUSDT") -> list[Event]:
    """Return every event of a one-symbol tape in order of receipt: snapshot first, then diffs and trades."""
    with gzip.open(path) as lines:
        messages = [json.loads(line.split(b" ", 1)[1]) for line in lines]
    rest = next(message for message in messages if "lastUpdateId" in message)
    known = rest["lastUpdateId"]
    events: list[Event] = []
    for message in messages:
        data = message.get("data", {})
        if data.get("e") == "depthUpdate":
            if not events:
                events.append(_deltas(symbol, data["E"], known, known, rest["bids"], rest["asks"], snapshot=True))
            if data["u"] > known:
                events.append(_deltas(symbol, data["E"], data["U"], data["u"], data["b"], data["a"]))
        elif data.get("e") == "trade" and events:
            events.append(_trade(symbol, data))
    return events


def _deltas(
    symbol: str, at_ms: int, first: int, final: int, bids: Pairs, asks: Pairs, *, snapshot: bool = False
) -> OrderBookDeltas:
    payload = DeltasPayload(first, final, snapshot, _levels(bids), _levels(asks))
    return OrderBookDeltas(symbol=symbol, venue="BINANCE", ts_event=Nanos(at_ms * _MS), payload=payload)


def _trade(symbol: str, data: dict[str, Any]) -> TradeTick:
    side: Side = "sell" if data["m"] else "buy"
    payload = TradePayload(float(data["p"]), float(data["q"]), side, data["t"])
    return TradeTick(symbol=symbol, venue="BINANCE", ts_event=Nanos(data["T"] * _MS), payload=payload)


def _levels(pairs: Pairs) -> list[tuple[float, float]]:
    return [(float(price), float(qty)) for price, qty in pairs]
