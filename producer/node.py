"""Composition of the producer: exchange → NautilusTrader node → actor → queue → Kafka.

Data only: the node has no execution client, needs no key, and loads no instruments. Start and stop have an
order: signals first, then health and Kafka, then the symbols are checked, then the node starts; at SIGTERM or SIGINT,
whenever it comes, the node stops, what waits is flushed, and only when the event loop has ended is the node disposed
of. SIGHUP has the list of symbols read again.
"""

import asyncio
import logging
import signal
from typing import Final

from nautilus_trader.adapters.binance.common.enums import BinanceAccountType
from nautilus_trader.adapters.binance.config import BinanceDataClientConfig
from nautilus_trader.adapters.binance.http.client import BinanceHttpClient
from nautilus_trader.adapters.binance.spot.http.market import BinanceSpotMarketHttpAPI
from nautilus_trader.cache.config import CacheConfig
from nautilus_trader.common.config import LoggingConfig
from nautilus_trader.live.config import (
    LiveDataEngineConfig,
    LiveExecEngineConfig,
    TradingNodeConfig,
)
from nautilus_trader.live.node import TradingNode
from nautilus_trader.model.identifiers import InstrumentId

from app import traces
from app.security.kafka import kafka_security
from app.security.secret import revealed
from app.settings import Settings
from producer.actor import CLIENT_ID, EventActor
from producer.client import BookDataClient, client_factory
from producer.followed_book import FollowedBook
from producer.hang_ups import HangUps
from producer.health import Arrivals, Health, HealthServer, SymbolHealth, assess
from producer.metrics import Metrics
from producer.publisher import Publisher
from producer.rest_limits import limited_http
from producer.symbol_changes import SymbolChanges, Wanted
from producer.timing import Timing
from producer.wire import VENUE, Kind

BINANCE_HTTP_URL: Final = "https://api.binance.com"
BINANCE_WS_URL: Final = "wss://stream.binance.com:9443"
FLUSH_LIMIT_SEC: Final = 10.0
_DISCONNECT_TIMEOUT: Final = 5.0
# NautilusTrader tells its own life at INFO; that is detail here.
_NAUTILUS_LEVELS: Final = {"DEBUG": "DEBUG", "INFO": "WARNING", "WARNING": "WARNING", "ERROR": "ERROR"}

log = logging.getLogger(__name__)


class Producer:
    """One producer process. `run` works until a signal; `dispose` comes after the event loop has ended."""

    def __init__(self, settings: Settings, wanted: Wanted, hang_ups: HangUps) -> None:
        """Begin with the symbols of `settings`; `wanted` gives those to go on with after one of `hang_ups`."""
        self._settings = settings
        self._wanted = wanted
        self._hang_ups = hang_ups
        self._told = False
        self._metrics = metrics = Metrics()
        self._publisher = Publisher(
            settings.kafka_brokers,
            settings.events_topic,
            settings.producer_queue_limit,
            self._resync,
            metrics,
            kafka_security(settings),
            traces.for_producer(settings),
        )
        self._arrivals = Arrivals()
        self._timing = Timing(idle=settings.exchange_idle_ms / 1000)
        self._symbols: SymbolChanges | None = None
        self._client: BookDataClient | None = None
        self._node: TradingNode | None = None
        self._producing: asyncio.Task[None] | None = None
        self._watch()

    async def run(self) -> int:
        """Return 0 after a signal and a full flush, 1 if no symbol is known or it ended in another way.

        Raises:
            OSError: the port of the health server is taken.
        """
        self._handle_signals()
        config = self._settings
        health = HealthServer(config.metrics_host, config.producer_http_port, self._health, self._metrics)
        await health.start()
        self._publisher.start()
        try:
            if not self._told:
                self._producing = asyncio.create_task(self._produce(), name="producer")
                await asyncio.wait([self._producing])
                if not self._producing.cancelled():
                    self._producing.result()
        finally:
            left = await self._publisher.stop(FLUSH_LIMIT_SEC)
            await health.stop()
        return 0 if self._told and not left else 1

    def dispose(self) -> None:
        """Release what NautilusTrader holds."""
        if self._node is not None:
            self._node.dispose()

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)

    def _stop(self) -> None:
        if self._told:
            return
        self._told = True
        if self._node is not None:
            self._node.stop()
        elif self._producing is not None:
            self._producing.cancel()

    async def _produce(self) -> None:
        """Publish until told to stop."""
        settings = self._settings
        http = limited_http(
            settings.binance_http_url or BINANCE_HTTP_URL,
            revealed(settings.binance_api_key),
            revealed(settings.binance_api_secret),
            self._timing.snapshot_limit,
        )
        market = BinanceSpotMarketHttpAPI(http, BinanceAccountType.SPOT)
        changes = self._symbols = SymbolChanges(market, self._wanted, self._arrivals, self._metrics)
        self._hang_ups.listen(changes.ask)
        symbols = await changes.begin(settings.symbols)
        if not symbols:
            log.error("no symbol is left to subscribe to")
            return
        instrument_ids = [InstrumentId.from_str(f"{symbol}.{VENUE}") for symbol in symbols]
        actor = EventActor(instrument_ids, self._take, self._resync, self._metrics)
        node = self._node = self._build_node(http, actor)
        self._handle_signals()  # in place of the node's own handlers
        following = asyncio.create_task(changes.follow(actor))
        try:
            await _run_to_its_end(node)
        finally:
            following.cancel()
        if not self._told:
            log.error("NautilusTrader's node ended by itself; its own log says why")

    def _build_node(self, http: BinanceHttpClient, actor: EventActor) -> TradingNode:
        node = TradingNode(config=_config(self._settings), loop=asyncio.get_running_loop())
        node.add_data_client_factory(CLIENT_ID.value, client_factory(http, self._metrics, self._timing, self._adopt))
        node.trader.add_actor(actor)
        node.build()
        return node

    def _take(self, symbol: str, kind: Kind, event: bytes) -> None:
        self._arrivals.note(symbol)
        self._publisher.put(symbol, kind, event)

    def _adopt(self, client: BookDataClient) -> None:
        self._client = client

    def _resync(self, symbol: str, reason: str) -> None:
        if self._client is not None:
            self._client.resync(symbol, reason)

    def _health(self) -> Health:
        publisher, latency = self._publisher, self._publisher.latency
        return assess(
            exchange_connected=self._client is not None and self._client.streams_connected(),
            kafka_reachable=publisher.reachable,
            queue_depth=publisher.waiting,
            queue_limit=self._settings.producer_queue_limit,
            publish_ms=None if latency is None else round(latency * 1000),
            oldest_waiting_ms=int(publisher.oldest_age * 1000),
            symbols={symbol: self._symbol_health(symbol, age) for symbol, age in self._arrivals.ages_ms().items()},
            refused=self._refused(),
            silent_after_ms=self._settings.down_after_ms,
        )

    def _symbol_health(self, symbol: str, age: int | None) -> SymbolHealth:
        resyncs = self._metrics.resyncs(symbol)
        book = self._books().get(symbol)
        if book is None:
            return SymbolHealth(event_age_ms=age, resyncs=resyncs)
        return SymbolHealth(
            event_age_ms=age,
            resyncs=resyncs,
            book_known=book.update_id is not None,
            book_unknown_ms=int(book.unknown_for * 1000),
            best_compared=book.truth.compared,
            best_equal=book.truth.equal,
            ended=book.watch.ended,
        )

    def _refused(self) -> dict[str, str]:
        return {} if self._symbols is None else self._symbols.refused

    def _books(self) -> dict[str, FollowedBook]:
        return {} if self._client is None else {book.symbol: book for book in self._client.books}

    def _watch(self) -> None:
        """Show what is kept elsewhere as metrics."""
        metrics, publisher = self._metrics, self._publisher
        metrics.show_only(self._arrivals.ages_ms)
        metrics.watch("queue_limit", "Events that may wait for Kafka", lambda: self._settings.producer_queue_limit)
        metrics.watch("queue_depth", "Events not yet acknowledged by Kafka", lambda: publisher.waiting)
        metrics.watch("oldest_waiting_seconds", "Age of the oldest of them", lambda: publisher.oldest_age)
        metrics.watch("kafka_up", "Whether Kafka answers", lambda: publisher.reachable)
        metrics.watch(
            "exchange_up",
            "Whether all streams of the exchange come in",
            lambda: self._client is not None and self._client.streams_connected(),
        )
        metrics.watch_symbols(
            "event_age_seconds",
            "Time since the newest event arrived",
            lambda: {symbol: age / 1000 for symbol, age in self._arrivals.ages_ms().items() if age is not None},
        )
        metrics.watch_symbols(
            "symbol_refused",
            "Symbols that are wanted and not subscribed to; /health says why",
            lambda: dict.fromkeys(self._refused(), 1.0),
        )
        metrics.watch_symbols(
            "book_known",
            "Whether the book is known",
            lambda: {symbol: float(book.update_id is not None) for symbol, book in self._books().items()},
        )
        metrics.watch_symbols(
            "best_compared_total",
            "Comparisons of the best bid and ask with the exchange's own",
            lambda: {symbol: book.truth.compared for symbol, book in self._books().items()},
            counts=True,
        )
        metrics.watch_symbols(
            "best_equal_total",
            "Comparisons that were equal",
            lambda: {symbol: book.truth.equal for symbol, book in self._books().items()},
            counts=True,
        )


async def _run_to_its_end(node: TradingNode) -> None:
    await node.run_async()
    # `run_async` returns when the engines' queues have ended, which is before the node has stopped.
    while node.kernel.is_running():  # noqa: ASYNC110  (it has no event to wait for)
        await asyncio.sleep(0.01)


def _config(settings: Settings) -> TradingNodeConfig:
    return TradingNodeConfig(
        trader_id="CONTEXT8-001",
        logging=LoggingConfig(
            log_level=_NAUTILUS_LEVELS[settings.log_level],
            log_colors=False,
            # Both warn at every start and stop that a node without execution has none.
            log_component_levels={"TradingNode": "ERROR", "ExecEngine": "ERROR"},
        ),
        # By default it keeps the last 10,000 trades of each symbol, for strategies. Nobody here asks for them.
        cache=CacheConfig(tick_capacity=1, bar_capacity=1),
        # An exception inside the engine itself: stop in order and flush, instead of os._exit.
        data_engine=LiveDataEngineConfig(graceful_shutdown_on_exception=True),
        exec_engine=LiveExecEngineConfig(reconciliation=False),
        data_clients={
            CLIENT_ID.value: BinanceDataClientConfig(
                base_url_http=settings.binance_http_url or BINANCE_HTTP_URL,
                base_url_ws=settings.binance_ws_url or BINANCE_WS_URL,
                update_instruments_interval_mins=None,
            )
        },
        timeout_disconnection=_DISCONNECT_TIMEOUT,
        timeout_post_stop=0.01,  # waits for orders, of which there are none; 10 s by default
    )
