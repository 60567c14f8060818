"""A stream of many symbols for tests with faults, and what must come of it whatever happens.

Every event leaves a trace in its symbol's state: a trade in the flow and the volume profile, a diff in the update id.
So a final state that equals the reference byte for byte shows that no event was missed, doubled or out of order.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Generator, Iterable
from typing import Any

from aiokafka import AIOKafkaProducer, ConsumerRecord

from agents.intake import home_partition
from app.microstructure.engine import EngineParams, SymbolEngine
from app.microstructure.events import Event, Side, decode
from support.markets import SECOND, START, deltas, snapshot, ticker, trade
from support.records import event_bytes

SYMBOLS = tuple(
    f"{name}USDT"
    for name in [
        "ADA",
        "APT",
        "ARB",
        "ATOM",
        "AVAX",
        "BNB",
        "BTC",
        "DOGE",
        "DOT",
        "ETH",
        "LINK",
        "LTC",
        "NEAR",
        "SOL",
        "TRX",
        "XRP",
    ]
)
SPACING = SECOND // 10


def market(symbol: str, count: int, seed: int = 1, begin: int = START) -> list[Event]:
    """A book that moves and trades: `count` events, 100 ms of event time apart."""
    dice = random.Random(f"{symbol}/{seed}")
    bids = [(100.0 - n / 10, dice.randrange(1, 500) / 10) for n in range(1, 40)]
    asks = [(100.0 + n / 10, dice.randrange(1, 500) / 10) for n in range(1, 40)]
    events: list[Event] = [snapshot(1000, bids, asks, at=begin, symbol=symbol), ticker(at=begin, symbol=symbol)]
    for number in range(count - len(events)):
        at = begin + number * SPACING
        if number % 2:
            price = 100.0 + dice.choice((-1, 1)) / 10
            side: Side = dice.choice(("buy", "sell"))
            events.append(trade(number, price, dice.randrange(1, 900) / 100, side, at=at, symbol=symbol))
        else:
            update_id = 1001 + number // 2
            changed = [(100.0 - dice.randrange(1, 60) / 10, dice.choice((0.0, dice.randrange(1, 900) / 10)))]
            events.append(deltas(update_id, update_id, changed, at=at, symbol=symbol))
    return events


def interleaved(count: int, seed: int = 1, begin: int = START) -> list[Event]:
    """The markets of all symbols, `count` events each, taking turns."""
    markets = (market(symbol, count, seed, begin) for symbol in SYMBOLS)
    return [event for group in zip(*markets, strict=True) for event in group]


def last_offsets(events: Iterable[Event], partitions: int) -> dict[str, int]:
    """The offset of each symbol's last event when `events` fill a topic."""
    position: dict[int, int] = {}
    last: dict[str, int] = {}
    for event in events:
        partition = home_partition(event.symbol, partitions)
        last[event.symbol] = position.setdefault(partition, 0)
        position[partition] += 1
    return last


def end_offsets(events: Iterable[Event], partitions: int) -> dict[int, int]:
    """The next offset of each partition that `events` leave a topic with."""
    ends: dict[int, int] = {}
    for event in events:
        partition = home_partition(event.symbol, partitions)
        ends[partition] = ends.get(partition, 0) + 1
    return ends


def undisturbed(events: Iterable[Event], partitions: int) -> dict[str, bytes]:
    """Each symbol's state in an engine in memory that has seen all of `events` once, in order."""
    engines: dict[str, SymbolEngine] = {}
    position: dict[int, int] = {}
    for event in events:
        partition = home_partition(event.symbol, partitions)
        engine = engines.setdefault(event.symbol, SymbolEngine(event.symbol, EngineParams()))
        engine.apply(event, position.setdefault(partition, 0))
        position[partition] += 1
    return {symbol: engine.snapshot() for symbol, engine in engines.items()}


def undisturbed_of_topic(records: Iterable[ConsumerRecord]) -> dict[str, bytes]:
    """The same of what a topic holds, read in any order of partitions."""
    engines: dict[str, SymbolEngine] = {}
    for record in records:
        event = decode(record.value, record.key)
        engine = engines.setdefault(event.symbol, SymbolEngine(event.symbol, EngineParams()))
        assert engine.apply(event, record.offset)
    return {symbol: engine.snapshot() for symbol, engine in engines.items()}


class Feed:
    """Sends events to a topic at a steady pace, as one idempotent producer; awaited, it has sent all.

    A broker that is away holds it up and loses nothing.
    """

    def __init__(self, brokers: str, topic: str, events: Iterable[Event], per_sec: float) -> None:
        self._brokers = brokers
        self._topic = topic
        self._events = list(events)
        self._per_sec = per_sec
        self._task = asyncio.create_task(self._send())
        self.sent = 0

    def __await__(self) -> Generator[Any, None, None]:
        return self._task.__await__()

    @property
    def done(self) -> bool:
        """Whether every event was sent; raises what went wrong."""
        return self._task.done() and self._task.result() is None

    async def reached(self, count: int) -> bool:
        """Whether so many were sent."""
        return self.sent >= count or self.done

    async def _send(self) -> None:
        # Ten attempts a second to reach a broker that is away; the default for a batch's life is 40 s.
        async with AIOKafkaProducer(
            bootstrap_servers=self._brokers,
            enable_idempotence=True,
            linger_ms=2,
            retry_backoff_ms=100,
            request_timeout_ms=60_000,
        ) as producer:
            begun = time.monotonic()
            pending: set[Awaitable[object]] = set()
            for number, event in enumerate(self._events):
                due = begun + number / self._per_sec
                if (wait := due - time.monotonic()) > 0:
                    await asyncio.sleep(wait)
                else:
                    # Held up: go on from here at the same pace, not in one burst.
                    begun -= wait
                pending.add(await producer.send(self._topic, event_bytes(event), key=event.symbol.encode()))
                self.sent += 1
            await asyncio.gather(*pending)
