"""NautilusTrader's Binance Spot data client, with books that are either right or said to be unknown.

The stock client forwards diffs without looking at their first id, so a missing one goes unnoticed; it fetches
the snapshot once, without retry, and two reconnects race. Here every diff goes through `book_sync`, one
machine a symbol, and its steps become NautilusTrader data:

| step      | what is sent on                                                                    |
|-----------|------------------------------------------------------------------------------------|
| `Unknown` | `OrderBookDeltas` with a single CLEAR                                              |
| `Fetch`   | nothing; a task asks for the REST snapshot, again and again with growing pauses    |
| `Replace` | `OrderBookDeltas` that begin with CLEAR                                            |
| `Apply`   | `OrderBookDeltas` of the diff                                                      |

So what a subscriber sees between a CLEAR with levels and the next CLEAR is unbroken, and a gap in one symbol
leaves the others alone. The first snapshot is fetched when the first diff has arrived, as Binance's
procedure has it; a symbol that stays silent for `FIRST_DIFF_WAIT` does not wait longer.

Partial depth comes as `BookDepth` beside the diffs, not as deltas among them. What carries no time of the
exchange is stamped by `exchange_clock`.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

from nautilus_trader.adapters.binance.common.enums import BinanceAccountType
from nautilus_trader.adapters.binance.config import BinanceDataClientConfig
from nautilus_trader.adapters.binance.http.client import BinanceHttpClient
from nautilus_trader.adapters.binance.spot.data import BinanceSpotDataClient
from nautilus_trader.common.providers import InstrumentProvider
from nautilus_trader.data.messages import SubscribeData, SubscribeOrderBook
from nautilus_trader.live.factories import LiveDataClientFactory

from producer import backoff, messages
from producer.book_sync import Apply, Fetch, Replace, Step, Unknown
from producer.depth import LEVELS, BookDepth, custom_data
from producer.market import Change, Market, Whole
from producer.metrics import Metrics
from producer.sockets import StreamSockets

SNAPSHOT_LIMIT: Final = 1000  # levels a side; costs 50 of Binance's 6,000 weight a minute (5000: 250)
FIRST_DIFF_WAIT: Final = 2.0
SNAPSHOT_TIMEOUT: Final = 10.0
RETRY_FIRST: Final = 0.25
RETRY_LONGEST: Final = 30.0
_SPEED_MS: Final = 100

log = logging.getLogger(__name__)


class BookDataClient(BinanceSpotDataClient):
    """Trades, 24 h tickers, gapless books and the top 20 of Binance Spot symbols."""

    def __init__(self, metrics: Metrics, snapshot_limit: int = SNAPSHOT_LIMIT, **stock: Any) -> None:
        """Take `stock`, the arguments of NautilusTrader's client, and two of our own."""
        super().__init__(**stock)
        self._metrics = metrics
        self._snapshot_limit = snapshot_limit
        self._markets: dict[str, Market] = {}
        self._routes: dict[str, Callable[[bytes], None]] = {
            "trade": self._handle_trade,
            "ticker": self._handle_ticker,
            f"depth@{_SPEED_MS}ms": self._handle_book_diff_update,
            f"depth{LEVELS}@{_SPEED_MS}ms": self._handle_book_partial_update,
        }
        # Books come over the public socket only, so a reconnect of the other one breaks none.
        self._ws_client = self._sockets(None)
        self._ws_public_client = self._sockets(self._reconnect)

    def resync(self, symbol: str, reason: str) -> None:
        """Give the symbol's book up and fetch it anew; nothing happens before it is followed."""
        market = self._markets.get(symbol)
        if market is not None and market.following:
            self._perform(market, market.sync.lose(reason))

    def streams_connected(self) -> bool:
        """Whether both sockets are open."""
        return self._ws_client.connected() and self._ws_public_client.connected()

    def _sockets(self, handler_reconnect: Callable[[], Awaitable[None]] | None) -> StreamSockets:
        return StreamSockets(
            clock=self._clock,
            handler=self._handle_ws_message,
            handler_reconnect=handler_reconnect,
            base_url=self._ws_client.url,
            loop=self._loop,
        )

    async def _connect(self) -> None:
        # Symbols were checked before the node was built, and nothing here needs their trading rules.
        pass

    async def _reconnect(self) -> None:
        for symbol in self._markets:
            self.resync(symbol, "reconnect")

    async def _subscribe(self, command: SubscribeData) -> None:
        if command.data_type.type is not BookDepth:
            await super()._subscribe(command)
            return
        symbol = command.data_type.metadata["instrument_id"].symbol.value
        await self._ws_public_client.subscribe_partial_book_depth(symbol, depth=LEVELS, speed=_SPEED_MS)

    async def _subscribe_order_book_deltas(self, command: SubscribeOrderBook) -> None:
        market = self._market(command.instrument_id.symbol.value)
        await self._ws_public_client.subscribe_diff_book_depth(market.symbol, speed=_SPEED_MS)
        with suppress(TimeoutError):
            await asyncio.wait_for(market.first_diff.wait(), FIRST_DIFF_WAIT)
        market.clock.assume(self._clock.timestamp_ns(), time.monotonic_ns())
        market.following = True
        self._perform(market, market.sync.lose("start"))

    def _handle_ws_message(self, raw: bytes) -> None:
        stream = ""
        try:
            stream = self._decoder_data_msg_wrapper.decode(raw).stream or ""
            if stream:  # without, it answers a SUBSCRIBE
                self._routes[stream.partition("@")[2]](raw)
        except Exception as error:
            # A diff that was not understood shows as a gap at the next one.
            self._metrics.error("client", error)
            log.exception("message of stream %s not understood: %.200r", stream or "?", raw)

    def _handle_trade(self, raw: bytes) -> None:
        trade = self._decoder_spot_trade.decode(raw).data
        market = self._observe(trade.s, trade.E)
        self._handle_data(trade.parse_to_trade_tick(market.instrument_id, self._clock.timestamp_ns()))

    def _handle_ticker(self, raw: bytes) -> None:
        ticker = self._decoder_ticker_msg.decode(raw).data
        self._observe(ticker.s, ticker.E)
        super()._handle_ticker(raw)

    def _handle_book_partial_update(self, raw: bytes) -> None:
        message = messages.decode_top(raw)
        market = self._market(message.stream.partition("@")[0].upper())
        if not market.clock.known:
            return  # it cannot be placed in time, and the next one is 100 ms away
        top = message.data
        ts_event = market.clock.now(time.monotonic_ns())
        depth = BookDepth(
            market.instrument_id, top.last_update_id, top.bids, top.asks, ts_event, self._clock.timestamp_ns()
        )
        self._handle_data(custom_data(depth))

    def _handle_book_diff_update(self, raw: bytes) -> None:
        diff = messages.decode_diff(raw).data
        market = self._observe(diff.symbol, diff.event_time)
        ts_event = diff.event_time * messages.NANOS_PER_MS
        deltas = messages.change(
            market.instrument_id,
            messages.orders(diff.bids, diff.asks),
            diff.final_update_id,
            ts_event,
            self._clock.timestamp_ns(),
        )
        market.first_diff.set()
        change = Change(diff.first_update_id, diff.final_update_id, ts_event, deltas)
        self._perform(market, market.sync.on_diff(change))

    def _market(self, symbol: str) -> Market:
        market = self._markets.get(symbol)
        if market is None:
            market = self._markets[symbol] = Market(symbol, self._get_cached_instrument_id(symbol))
        return market

    def _observe(self, symbol: str, event_time_ms: int) -> Market:
        market = self._market(symbol)
        market.clock.observe(event_time_ms * messages.NANOS_PER_MS, time.monotonic_ns())
        return market

    def _perform(self, market: Market, steps: list[Step[Change, Whole]]) -> None:
        for step in steps:
            match step:
                case Apply(change):
                    if change.deltas is not None:
                        self._handle_data(change.deltas)
                case Replace(whole, continued_by):
                    self._send_snapshot(market, whole, continued_by)
                case Unknown(reason, update_id):
                    self._send_unknown(market, reason, update_id)
                case Fetch():
                    self.create_task(self._fetch_snapshot(market), log_msg=f"snapshot {market.symbol}")

    def _send_unknown(self, market: Market, reason: str, update_id: int) -> None:
        self._metrics.resync(market.symbol, reason)
        log.log(
            logging.INFO if reason == "start" else logging.WARNING,
            "book of %s not known (%s), fetching it",
            market.symbol,
            reason,
            extra={"symbol": market.symbol},
        )
        now = market.clock.now(time.monotonic_ns())
        self._handle_data(messages.replacement(market.instrument_id, [], update_id, now, self._clock.timestamp_ns()))

    def _send_snapshot(self, market: Market, whole: Whole, continued_by: Change | None) -> None:
        # The clock would put the snapshot after diffs that were kept for it and are sent after it.
        ts_event = continued_by.ts_event if continued_by else market.clock.now(time.monotonic_ns())
        log.info(
            "book of %s known at update %d",
            market.symbol,
            whole.last_update_id,
            extra={"symbol": market.symbol},
        )
        self._handle_data(
            messages.replacement(market.instrument_id, whole.levels, whole.last_update_id, ts_event, whole.ts_init)
        )

    async def _fetch_snapshot(self, market: Market) -> None:
        for delay in backoff.delays(RETRY_FIRST, RETRY_LONGEST):
            whole = await self._try_snapshot(market.symbol)
            if whole is not None:
                steps = market.sync.on_snapshot(whole)
                if Fetch() not in steps:
                    self._perform(market, steps)
                    return
            await asyncio.sleep(delay)

    async def _try_snapshot(self, symbol: str) -> Whole | None:
        try:
            async with asyncio.timeout(SNAPSHOT_TIMEOUT):
                depth = await self._http_market.query_depth(symbol, self._snapshot_limit)
            levels = messages.orders(depth.bids, depth.asks)
            if not levels:
                raise ValueError("the book is empty, which cannot be told from one that is not known")
            return Whole(depth.lastUpdateId, levels, self._clock.timestamp_ns())
        except Exception as error:
            # Whatever it was, the book stays unknown and the next try may do better.
            self._metrics.snapshot_failed(symbol)
            self._metrics.error("client", error)
            log.warning("no depth snapshot of %s: %r", symbol, error, extra={"symbol": symbol})
            return None


def client_factory(
    http: BinanceHttpClient, metrics: Metrics, created: Callable[[BookDataClient], None]
) -> type[LiveDataClientFactory]:
    """Return a factory for NautilusTrader's builder; `created` gets the client that it makes."""

    class BookDataClientFactory(LiveDataClientFactory):
        """Makes `BookDataClient`."""

        @staticmethod
        def create(config: BinanceDataClientConfig, **context: Any) -> BookDataClient:
            """Return the client; `context` is what NautilusTrader gives every client."""
            client = BookDataClient(
                metrics,
                client=http,
                config=config,
                instrument_provider=InstrumentProvider(),
                account_type=BinanceAccountType.SPOT,
                base_url_ws=config.base_url_ws,
                **context,
            )
            created(client)
            return client

    return BookDataClientFactory
