"""Two data clients on real sockets, as they are, whose published books go to a judge.

- *ours*: `BookDataClient` → `EventActor` → the bytes of the topic's events, from which the book is rebuilt as
  a worker would. What is judged is what Kafka would get.
- *stock*: NautilusTrader's `BinanceSpotDataClient` → its `OrderBook`, as any strategy would keep it.

Both get NautilusTrader's message bus, cache and clock; only the engine between client and actor is left out.
"""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

from nautilus_trader.adapters.binance.common.enums import BinanceAccountType
from nautilus_trader.adapters.binance.config import BinanceDataClientConfig
from nautilus_trader.adapters.binance.http.client import BinanceHttpClient
from nautilus_trader.adapters.binance.spot.data import BinanceSpotDataClient
from nautilus_trader.adapters.binance.spot.providers import BinanceSpotInstrumentProvider
from nautilus_trader.cache.cache import Cache
from nautilus_trader.common.component import LiveClock, MessageBus
from nautilus_trader.common.config import InstrumentProviderConfig
from nautilus_trader.core.uuid import UUID4
from nautilus_trader.data.messages import SubscribeData, SubscribeOrderBook, SubscribeTradeTicks
from nautilus_trader.model.book import OrderBook
from nautilus_trader.model.data import CustomData, OrderBookDelta, OrderBookDeltas, TradeTick
from nautilus_trader.model.enums import BookAction, BookType
from nautilus_trader.model.identifiers import InstrumentId, TraderId

from app.microstructure import rfc3339
from producer.actor import CLIENT_ID, EventActor, ticker_type
from producer.client import BookDataClient, client_factory
from producer.depth import data_type
from producer.exchange.book import Book, Depth, Side
from producer.exchange.units import to_units
from producer.faults.judge import Judge
from producer.metrics import Metrics
from producer.rest_limits import limited_http
from producer.timing import Timing
from producer.wire import VENUE, Kind

_NODE_TIMEOUT: Final = 5.0  # a TradingNode waits 60 s for its clients to connect, and gives up then


class Adapter(Protocol):
    """A client that publishes into a judge between `start` and `stop`."""

    name: str

    async def start(self, http_url: str, ws_url: str, symbols: list[str]) -> None:
        """Connect and subscribe; does not wait for data."""

    async def stop(self) -> None:
        """Disconnect."""


def _bus(clock: LiveClock, process: Callable[[Any], None]) -> MessageBus:
    bus = MessageBus(TraderId("FAULTS-001"), clock)
    bus.register("DataEngine.process", process)
    return bus


def _subscribe(client: Any, symbols: list[str], *, everything: bool) -> None:
    common = {"client_id": CLIENT_ID, "venue": None, "ts_init": 0}
    for symbol in symbols:
        instrument_id = InstrumentId.from_str(f"{symbol}.{VENUE}")
        client.subscribe_trade_ticks(SubscribeTradeTicks(instrument_id, command_id=UUID4(), **common))
        client.subscribe_order_book_deltas(
            SubscribeOrderBook(instrument_id, OrderBookDelta, BookType.L2_MBP, command_id=UUID4(), **common)
        )
        if everything:
            for wanted in (data_type(instrument_id), ticker_type(instrument_id)):
                client.subscribe(SubscribeData(wanted, None, command_id=UUID4(), **common))


class Ours:
    """The producer's client and actor."""

    name = "producer"

    def __init__(self, judge: Judge, timing: Timing) -> None:
        self.metrics = Metrics()
        self.client: BookDataClient | None = None
        self.events: list[tuple[str, Kind, bytes]] = []
        self._judge = judge
        self._timing = timing
        self._books: dict[str, Book] = {}
        self._actor = EventActor([], self._take, self._resync, self.metrics)

    async def start(self, http_url: str, ws_url: str, symbols: list[str]) -> None:
        """See `Adapter`."""
        clock = LiveClock()
        http = limited_http(http_url, None, None, self._timing.snapshot_limit)
        client = self.client = client_factory(http, self.metrics, self._timing, lambda _: None).create(
            loop=asyncio.get_running_loop(),
            name=CLIENT_ID.value,
            config=BinanceDataClientConfig(base_url_ws=ws_url),
            msgbus=_bus(clock, self._process),
            cache=Cache(),
            clock=clock,
        )
        _subscribe(client, symbols, everything=True)

    async def stop(self) -> None:
        """See `Adapter`."""
        if self.client is not None:
            await self.client._disconnect()

    def _process(self, data: Any) -> None:
        if isinstance(data, OrderBookDeltas):
            self._actor.on_order_book_deltas(data)
        elif isinstance(data, TradeTick):
            self._actor.on_trade_tick(data)
        elif isinstance(data, CustomData):
            self._actor.on_data(data.data)

    def _resync(self, symbol: str, reason: str) -> None:
        if self.client is not None:
            self.client.resync(symbol, reason)

    def _take(self, symbol: str, kind: Kind, event: bytes) -> None:
        self.events.append((symbol, kind, event))
        if kind not in (Kind.DIFF, Kind.SNAPSHOT):
            return
        now = time.monotonic()
        # Every number as text: units are exact, floats are not.
        body = json.loads(event, parse_float=str, parse_int=str)
        payload = body["payload"]
        final = int(payload["final_update_id"])
        if payload["snapshot"]:
            self._books.pop(symbol, None)
            if payload["bids"] or payload["asks"]:
                self._books[symbol] = Book(int(payload["first_update_id"]) - 1)
        book = self._books.get(symbol)
        if book is None:
            self._judge.unknown(symbol, now)
            return
        if int(payload["first_update_id"]) != book.last_update_id + 1:
            del self._books[symbol]  # as a worker does at a gap
            self._judge.unknown(symbol, now)
            return
        for side, levels in ((Side.BID, payload["bids"]), (Side.ASK, payload["asks"])):
            for price, quantity in levels:
                book.put(side, to_units(price), to_units(quantity))
        book.last_update_id = final
        timed = None if payload["snapshot"] else rfc3339.parse(body["ts_event"]) // 1_000_000
        self._judge.state(symbol, book.depth(5000), now, timed)


class Stock:
    """NautilusTrader's own client, unchanged."""

    name = "stock adapter"

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._books: dict[str, OrderBook] = {}
        self._client: BinanceSpotDataClient | None = None

    async def start(self, http_url: str, ws_url: str, symbols: list[str]) -> None:
        """See `Adapter`; like a TradingNode it subscribes to nothing where it could not connect."""
        clock = LiveClock()
        http = BinanceHttpClient(clock, None, None, http_url)
        ids = [InstrumentId.from_str(f"{symbol}.{VENUE}") for symbol in symbols]
        self._books = {symbol: OrderBook(id_, BookType.L2_MBP) for symbol, id_ in zip(symbols, ids, strict=True)}
        client = self._client = BinanceSpotDataClient(
            loop=asyncio.get_running_loop(),
            client=http,
            msgbus=_bus(clock, self._process),
            cache=Cache(),
            clock=clock,
            instrument_provider=BinanceSpotInstrumentProvider(
                http, clock, BinanceAccountType.SPOT, config=InstrumentProviderConfig(load_ids=frozenset(ids))
            ),
            base_url_ws=ws_url,
            config=BinanceDataClientConfig(base_url_ws=ws_url),
        )
        client.connect()
        deadline = time.monotonic() + _NODE_TIMEOUT
        while not client.is_connected and time.monotonic() < deadline:  # noqa: ASYNC110  (it has no event)
            await asyncio.sleep(0.01)
        if client.is_connected:
            _subscribe(client, symbols, everything=False)

    async def stop(self) -> None:
        """See `Adapter`."""
        if self._client is not None:
            await self._client._disconnect()
            await self._client.cancel_pending_tasks()

    def _process(self, data: Any) -> None:
        if not isinstance(data, OrderBookDeltas):
            return
        symbol = data.instrument_id.symbol.value
        book = self._books[symbol]
        book.apply_deltas(data)
        now = time.monotonic()
        if len(data.deltas) == 1 and data.deltas[0].action == BookAction.CLEAR:
            self._judge.unknown(symbol, now)
            return
        bids = [(to_units(str(level.price)), _units(level.size())) for level in book.bids()]
        asks = [(to_units(str(level.price)), _units(level.size())) for level in book.asks()]
        self._judge.state(symbol, Depth(data.sequence, bids, asks), now)


def _units(size: float) -> int:
    return round(size * 10**8)
