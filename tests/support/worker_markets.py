"""Markets of several symbols for worker processes, and what must come of them."""

from agents.intake import home_partition
from app.microstructure.engine import EngineParams, SymbolEngine
from app.microstructure.events import Event
from support.markets import SECOND, START, deltas, snapshot, ticker, trade
from support.workers import PARTITIONS

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "BNBUSDT", "XRPUSDT", "ADAUSDT", "DOGEUSDT", "LTCUSDT")


def market(symbol: str, count: int) -> list[Event]:
    """A book that moves and trades: `count` events with times 100 ms apart."""
    bids, asks = [(99.0 - n, 1.0 + n) for n in range(30)], [(101.0 + n, 1.0 + n) for n in range(30)]
    events: list[Event] = [snapshot(1000, bids, asks, symbol=symbol), ticker(symbol=symbol)]
    for number in range(count - 2):
        at = START + number * SECOND // 10
        if number % 2:
            events.append(trade(number, 100.0, 0.5 + number % 7, at=at, symbol=symbol))
        else:
            update_id = 1001 + number // 2
            change = [(99.5 - (number % 5) / 10, float(number % 3))]
            events.append(deltas(update_id, update_id, change, at=at, symbol=symbol))
    return events


def interleaved(count: int) -> list[Event]:
    """The markets of all symbols, taking turns."""
    return [event for group in zip(*(market(symbol, count) for symbol in SYMBOLS), strict=True) for event in group]


def last_offsets(events: list[Event], start: dict[int, int] | None = None) -> dict[str, int]:
    """The offset of each symbol's last event when `events` fill the topic."""
    position = dict(start or {})
    last: dict[str, int] = {}
    for event in events:
        partition = home_partition(event.symbol, PARTITIONS)
        last[event.symbol] = position.setdefault(partition, 0)
        position[partition] += 1
    return last


def reference(symbol: str, events: list[Event]) -> bytes:
    """The state of an engine that was never disturbed."""
    engine, position = SymbolEngine(symbol, EngineParams()), dict.fromkeys(range(PARTITIONS), 0)
    for event in events:
        partition = home_partition(event.symbol, PARTITIONS)
        if event.symbol == symbol:
            engine.apply(event, position[partition])
        position[partition] += 1
    return engine.snapshot()
