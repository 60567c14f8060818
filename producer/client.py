"""NautilusTrader's Binance Spot data client, with books that are either right or said to be unknown.

The stock client forwards diffs without looking at their first id, so a missing one goes unnoticed; it fetches
the snapshot once, without retry; a silent connection stays silent. Here connections look after themselves
(`connection`), requests keep to the exchange's limits (`rest_limits`), and each symbol's book is followed by
a machine of its own (`followed_book`), which sends on

- `OrderBookDeltas` that begin with CLEAR: the book as of the snapshot,
- `OrderBookDeltas` without: a diff that continues it,
- `OrderBookDeltas` with a single CLEAR: the book is not known.

So what a subscriber sees between a CLEAR with levels and the next CLEAR is unbroken, and a fault of one symbol
leaves the others alone.

Partial depth comes as `BookDepth` beside the diffs, not as deltas among them. What carries no time of the
exchange is stamped by `exchange_clock`. A trade that never came (a break of the connection) shows as a step in
the trade ids and is counted.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from nautilus_trader.adapters.binance.common.enums import BinanceAccountType
from nautilus_trader.adapters.binance.config import BinanceDataClientConfig
from nautilus_trader.adapters.binance.http.client import BinanceHttpClient
from nautilus_trader.adapters.binance.spot.data import BinanceSpotDataClient
from nautilus_trader.common.providers import InstrumentProvider
from nautilus_trader.data.messages import SubscribeData, SubscribeOrderBook, UnsubscribeData, UnsubscribeOrderBook
from nautilus_trader.live.factories import LiveDataClientFactory

from producer import messages, stream_watch
from producer.depth import LEVELS, BookDepth, custom_data
from producer.followed_book import Change, FollowedBook, Surroundings, Whole
from producer.metrics import Metrics
from producer.sockets import StreamSockets
from producer.stream_routes import StreamRoutes
from producer.stream_watch import Silence
from producer.timing import Timing

SNAPSHOT_LIMIT: Final = 1000  # levels a side; costs 50 of Binance's 6,000 weight a minute (5000: 250)
_SPEED_MS: Final = 100

log = logging.getLogger(__name__)


class BookDataClient(BinanceSpotDataClient):
    """Trades, 24 h tickers, gapless books and the top 20 of Binance Spot symbols."""

    def __init__(self, metrics: Metrics, timing: Timing, snapshot_limit: int = SNAPSHOT_LIMIT, **stock: Any) -> None:
        """Take `stock`, the arguments of NautilusTrader's client, and three of our own."""
        super().__init__(**stock)
        self._metrics = metrics
        self._timing = timing
        self._snapshot_limit = snapshot_limit
        self._books: dict[str, FollowedBook] = {}
        self._trade_ids: dict[str, int] = {}
        self._looking: asyncio.Task[None] | None = None
        self._around = Surroundings(self._handle_data, self._fetch, self._clock.timestamp_ns, metrics, self._timing)
        self._routes: StreamRoutes[FollowedBook] = StreamRoutes(
            {
                stream_watch.TRADES: self._on_trade,
                stream_watch.TICKER: self._on_ticker,
                stream_watch.BEST: self._on_best,
                stream_watch.DIFFS: self._on_diff,
                stream_watch.TOP: self._on_top,
            },
            self._book,
        )
        self._ws_client = self._sockets()
        self._ws_public_client = self._sockets()

    @property
    def books(self) -> Iterator[FollowedBook]:
        """The book of each symbol."""
        return iter(self._books.values())

    def resync(self, symbol: str, reason: str) -> None:
        """Give the symbol's book up and fetch it anew; nothing happens before it is followed."""
        if symbol in self._books:
            self._books[symbol].resync(reason)

    def streams_connected(self) -> bool:
        """Whether all streams come in."""
        return self._ws_client.connected() and self._ws_public_client.connected()

    def _sockets(self) -> StreamSockets:
        return StreamSockets(
            clock=self._clock,
            handler=self._handle_ws_message,
            ready=self._streams_ready,
            lost=self._streams_lost,
            timing=self._timing,
            base_url=self._ws_client.url,
            loop=self._loop,
        )

    async def _connect(self) -> None:
        # Symbols were checked before the node was built, and nothing here needs their trading rules.
        pass

    async def _disconnect(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
        await super()._disconnect()
        for book in self._books.values():
            book.close()

    def _streams_ready(self, streams: Sequence[str]) -> None:
        if self._looking is None:
            self._looking = self._loop.create_task(self._look(), name="look at streams")
        for book, kind in self._books_of(streams):
            book.watch.ready(kind)
            if kind == stream_watch.DIFFS:
                book.stream_ready()

    def _streams_lost(self, streams: Sequence[str], reason: str) -> None:
        self._metrics.connection_lost(reason)
        for book, kind in self._books_of(streams):
            book.watch.lost(kind)
            if kind == stream_watch.DIFFS:
                book.stream_lost()
            elif kind == stream_watch.BEST:
                book.truth.forget_all()  # a symbol's streams may lie on two connections

    def _books_of(self, streams: Sequence[str]) -> Iterator[tuple[FollowedBook, str]]:
        for stream in streams:
            name, _, kind = stream.partition("@")
            if not self._routes.has_left(name.upper()):
                yield self._book(name.upper()), kind

    async def _look(self) -> None:
        """Find streams that have ended alone, for ever, and ask for them anew."""
        while True:
            await asyncio.sleep(self._timing.look)
            for book in list(self._books.values()):
                try:
                    for silence in book.watch.look():
                        self._ask_anew(book, silence)
                except Exception as error:
                    self._metrics.error("client", error)
                    log.exception("streams of %s not looked at", book.symbol)

    def _ask_anew(self, book: FollowedBook, silence: Silence) -> None:
        symbol, kind = book.symbol, silence.kind
        if not silence.proved:
            log.info("stream %s of %s is silent: asked for anew", kind, symbol, extra={"symbol": symbol})
        else:
            log.warning("stream %s of %s has ended alone: asked for anew", kind, symbol, extra={"symbol": symbol})
            if silence.first:
                self._metrics.stream_ended(symbol, kind)
            if kind == stream_watch.DIFFS:
                book.left_behind()
            elif kind == stream_watch.BEST:
                book.truth.forget_all()  # what came last is no truth for what the book has become since
        for sockets in (self._ws_client, self._ws_public_client):
            sockets.renew(f"{symbol.lower()}@{kind}")

    async def _subscribe(self, command: SubscribeData) -> None:
        if command.data_type.type is not BookDepth:
            await super()._subscribe(command)
            return
        symbol = command.data_type.metadata["instrument_id"].symbol.value
        await self._ws_public_client.subscribe_partial_book_depth(symbol, depth=LEVELS, speed=_SPEED_MS)

    async def _subscribe_order_book_deltas(self, command: SubscribeOrderBook) -> None:
        symbol = command.instrument_id.symbol.value
        self._routes.come_back(symbol)
        await self._ws_public_client.subscribe_book_ticker(symbol)
        await self._ws_public_client.subscribe_diff_book_depth(symbol, speed=_SPEED_MS)

    async def _unsubscribe(self, command: UnsubscribeData) -> None:
        if command.data_type.type is not BookDepth:
            await super()._unsubscribe(command)
            return
        symbol = command.data_type.metadata["instrument_id"].symbol.value
        await self._ws_public_client.unsubscribe_partial_book_depth(symbol, depth=LEVELS, speed=_SPEED_MS)

    async def _unsubscribe_order_book_deltas(self, command: UnsubscribeOrderBook) -> None:
        symbol = command.instrument_id.symbol.value
        await self._ws_public_client.unsubscribe_book_ticker(symbol)
        await self._ws_public_client.unsubscribe_diff_book_depth(symbol, speed=_SPEED_MS)
        self._routes.leave(symbol)
        self._trade_ids.pop(symbol, None)
        book = self._books.pop(symbol, None)
        if book is not None:
            book.close()

    def _handle_ws_message(self, raw: bytes) -> None:
        try:
            self._routes.take(raw)
        except Exception as error:
            # A diff that was not understood shows as a gap at the next one.
            self._metrics.error("client", error)
            log.exception("message not understood: %.200r", raw)

    def _on_trade(self, book: FollowedBook, raw: bytes) -> None:
        trade = self._decoder_spot_trade.decode(raw).data
        book.observe(trade.E)
        self._note_trade_id(book, trade.t)
        book.watch.on_trade(trade.t, trade.E)
        self._handle_data(messages.trade_tick(book.instrument_id, trade, self._clock.timestamp_ns()))

    def _note_trade_id(self, book: FollowedBook, trade_id: int) -> None:
        """Count the trades between this one and the one before, which never came."""
        before = self._trade_ids.get(book.symbol, trade_id - 1)
        if trade_id > before + 1:
            self._metrics.trades_missed(book.symbol, trade_id - before - 1)
        elif trade_id < before and not book.low_trade_ids.note(trade_id, before):
            return
        if trade_id < before:
            book.ids_began_again("trade", before)
        self._trade_ids[book.symbol] = trade_id

    def _on_ticker(self, book: FollowedBook, raw: bytes) -> None:
        ticker = self._decoder_ticker_msg.decode(raw).data
        book.observe(ticker.E)
        book.watch.on_ticker(ticker.L)
        self._handle_ticker(raw)

    def _on_best(self, book: FollowedBook, raw: bytes) -> None:
        book.on_ticker(messages.decode_best_id(raw).data.update_id, raw)

    def _on_top(self, book: FollowedBook, raw: bytes) -> None:
        top = messages.decode_top(raw).data
        book.watch.on_top(top.last_update_id)
        if not book.clock.known:
            return  # it cannot be placed in time, and the next one is 100 ms away
        ts_event = book.clock.now(time.monotonic_ns())
        depth = BookDepth(
            book.instrument_id, top.last_update_id, top.bids, top.asks, ts_event, self._clock.timestamp_ns()
        )
        self._handle_data(custom_data(depth))

    def _on_diff(self, book: FollowedBook, raw: bytes) -> None:
        diff = messages.decode_diff(raw).data
        book.observe(diff.event_time)
        book.watch.on_diff(diff.final_update_id, diff.event_time)
        ts_event = diff.event_time * messages.NANOS_PER_MS
        deltas = messages.change(
            book.instrument_id,
            messages.orders(diff.bids, diff.asks),
            diff.final_update_id,
            ts_event,
            self._clock.timestamp_ns(),
        )
        book.on_diff(Change(diff.first_update_id, diff.final_update_id, ts_event, deltas))

    def _book(self, symbol: str) -> FollowedBook:
        book = self._books.get(symbol)
        if book is None:
            book = FollowedBook(symbol, self._get_cached_instrument_id(symbol), self._around)
            self._books[symbol] = book
        return book

    async def _fetch(self, symbol: str) -> Whole | None:
        try:
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
    http: BinanceHttpClient, metrics: Metrics, timing: Timing, created: Callable[[BookDataClient], None]
) -> type[LiveDataClientFactory]:
    """Return a factory for NautilusTrader's builder; `created` gets the client that it makes."""

    class BookDataClientFactory(LiveDataClientFactory):
        """Makes `BookDataClient`."""

        @staticmethod
        def create(config: BinanceDataClientConfig, **context: Any) -> BookDataClient:
            """Return the client; `context` is what NautilusTrader gives every client."""
            client = BookDataClient(
                metrics,
                timing,
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
