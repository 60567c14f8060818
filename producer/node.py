"""Composition of the producer: exchange → NautilusTrader node → actor → queue → Kafka.

Data only: the node has no execution client, needs no key, and loads no instruments. Start and stop have an
order: symbols are checked first, then Kafka, health and node start; at SIGTERM or SIGINT the node stops, what
waits is flushed, and only when the event loop has ended is the node disposed of.
"""

import asyncio
import logging
import signal
from typing import Final

from nautilus_trader.adapters.binance.common.enums import BinanceAccountType
from nautilus_trader.adapters.binance.config import BinanceDataClientConfig
from nautilus_trader.adapters.binance.http.client import BinanceHttpClient
from nautilus_trader.adapters.binance.spot.http.market import BinanceSpotMarketHttpAPI
from nautilus_trader.common.component import LiveClock
from nautilus_trader.common.config import LoggingConfig
from nautilus_trader.core.nautilus_pyo3 import Quota
from nautilus_trader.live.config import (
    LiveDataEngineConfig,
    LiveExecEngineConfig,
    TradingNodeConfig,
)
from nautilus_trader.live.node import TradingNode
from nautilus_trader.model.identifiers import InstrumentId

from app.settings import Settings
from producer import wire
from producer.actor import CLIENT_ID, EventActor, Sink
from producer.client import BookDataClient, client_factory
from producer.health import Arrivals, Health, HealthServer, SymbolHealth, assess
from producer.metrics import Metrics
from producer.publisher import Publisher
from producer.symbols import known_symbols

BINANCE_HTTP_URL: Final = "https://api.binance.com"
BINANCE_WS_URL: Final = "wss://stream.binance.com:9443"
WEIGHT_PER_MINUTE: Final = 6000
FLUSH_TIMEOUT: Final = 10.0
_DISCONNECT_TIMEOUT: Final = 5.0
# NautilusTrader tells its own life at INFO; that is detail here.
_NAUTILUS_LEVELS: Final = {"DEBUG": "DEBUG", "INFO": "WARNING", "WARNING": "WARNING", "ERROR": "ERROR"}

log = logging.getLogger(__name__)


class Producer:
    """One producer process. `run` works until a signal; `dispose` comes after the event loop has ended."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._metrics = Metrics()
        self._client: BookDataClient | None = None
        self._node: TradingNode | None = None

    async def run(self) -> int:
        """Return 0 after a signal and a full flush, 1 if no symbol is known or it ended in another way.

        Raises:
            OSError: the port of the health server is taken.
        """
        settings, metrics = self._settings, self._metrics
        http = BinanceHttpClient(
            clock=LiveClock(),
            api_key=settings.binance_api_key,
            api_secret=settings.binance_api_secret,
            base_url=settings.binance_http_url or BINANCE_HTTP_URL,
            ratelimiter_default_quota=Quota.rate_per_minute(WEIGHT_PER_MINUTE),
        )
        market = BinanceSpotMarketHttpAPI(http, BinanceAccountType.SPOT)
        symbols = await known_symbols(market, settings.symbols, metrics)
        if not symbols:
            log.error("no symbol is left to subscribe to")
            return 1
        publisher = Publisher(
            settings.kafka_brokers,
            settings.events_topic,
            settings.producer_queue_limit,
            self._resync,
            metrics,
        )
        arrivals = Arrivals(symbols)
        health = HealthServer(settings.producer_http_port, lambda: self._health(publisher, arrivals), metrics)
        metrics.watch("queue_depth", "Events not yet acknowledged by Kafka", lambda: publisher.waiting)
        metrics.watch("kafka_up", "Whether Kafka answers", lambda: publisher.reachable)

        def sink(symbol: str, kind: wire.Kind, event: bytes) -> None:
            arrivals.note(symbol)
            publisher.put(symbol, kind, event)

        await health.start()
        publisher.start()
        try:
            told = await self._run_node(http, symbols, sink)
        finally:
            left = await publisher.stop(FLUSH_TIMEOUT)
            await health.stop()
        if not told:
            log.error("NautilusTrader's node ended by itself; its own log says why")
        return 0 if told and not left else 1

    def dispose(self) -> None:
        """Release what NautilusTrader holds."""
        if self._node is not None:
            self._node.dispose()

    async def _run_node(self, http: BinanceHttpClient, symbols: list[str], sink: Sink) -> bool:
        """Run the node; return whether it ended because it was told to."""
        loop = asyncio.get_running_loop()
        node = self._node = TradingNode(config=_config(self._settings), loop=loop)
        node.add_data_client_factory(CLIENT_ID.value, client_factory(http, self._metrics, self._adopt))
        instrument_ids = [InstrumentId.from_str(f"{symbol}.{wire.VENUE}") for symbol in symbols]
        node.trader.add_actor(EventActor(instrument_ids, sink, self._resync, self._metrics))
        node.build()
        told = asyncio.Event()

        def stop() -> None:
            if not told.is_set():
                told.set()
                node.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)  # in place of the node's own handlers
        await node.run_async()
        # `run_async` returns when the engines' queues have ended, which is before the node has stopped.
        while node.kernel.is_running():  # noqa: ASYNC110  (it has no event to wait for)
            await asyncio.sleep(0.01)
        return told.is_set()

    def _adopt(self, client: BookDataClient) -> None:
        self._client = client

    def _resync(self, symbol: str, reason: str) -> None:
        if self._client is not None:
            self._client.resync(symbol, reason)

    def _health(self, publisher: Publisher, arrivals: Arrivals) -> Health:
        return assess(
            exchange_connected=self._client is not None and self._client.streams_connected(),
            kafka_reachable=publisher.reachable,
            queue_depth=publisher.waiting,
            queue_limit=self._settings.producer_queue_limit,
            symbols={
                symbol: SymbolHealth(age, self._metrics.resyncs(symbol)) for symbol, age in arrivals.ages_ms().items()
            },
            silent_after_ms=self._settings.down_after_ms,
        )


def _config(settings: Settings) -> TradingNodeConfig:
    return TradingNodeConfig(
        trader_id="CONTEXT8-001",
        logging=LoggingConfig(
            log_level=_NAUTILUS_LEVELS[settings.log_level],
            log_colors=False,
            # Both warn at every start and stop that a node without execution has none.
            log_component_levels={"TradingNode": "ERROR", "ExecEngine": "ERROR"},
        ),
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
