"""Composition of the producer: exchange → NautilusTrader node → actor → queue → Kafka.

Data only: the node has no execution client, needs no key, and loads no instruments. Start and stop have an
order: health and Kafka first, then the symbols are checked, then the node starts; at SIGTERM or SIGINT the
node stops, what waits is flushed, and only when the event loop has ended is the node disposed of.
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
from producer.actor import CLIENT_ID, EventActor
from producer.client import BookDataClient, client_factory
from producer.health import Arrivals, Health, HealthServer, SymbolHealth, assess
from producer.metrics import Metrics
from producer.publisher import Publisher
from producer.symbols import known_symbols
from producer.wire import VENUE, Kind

BINANCE_HTTP_URL: Final = "https://api.binance.com"
BINANCE_WS_URL: Final = "wss://stream.binance.com:9443"
REQUESTS_PER_MINUTE: Final = 1200
FLUSH_LIMIT_SEC: Final = 10.0
_DISCONNECT_TIMEOUT: Final = 5.0
# NautilusTrader tells its own life at INFO; that is detail here.
_NAUTILUS_LEVELS: Final = {"DEBUG": "DEBUG", "INFO": "WARNING", "WARNING": "WARNING", "ERROR": "ERROR"}

log = logging.getLogger(__name__)


class Producer:
    """One producer process. `run` works until a signal; `dispose` comes after the event loop has ended."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._metrics = metrics = Metrics()
        self._publisher = publisher = Publisher(
            settings.kafka_brokers,
            settings.events_topic,
            settings.producer_queue_limit,
            self._resync,
            metrics,
        )
        self._arrivals = Arrivals()
        self._client: BookDataClient | None = None
        self._node: TradingNode | None = None
        metrics.watch("queue_depth", "Events not yet acknowledged by Kafka", lambda: publisher.waiting)
        metrics.watch("kafka_up", "Whether Kafka answers", lambda: publisher.reachable)

    async def run(self) -> int:
        """Return 0 after a signal and a full flush, 1 if no symbol is known or it ended in another way.

        Raises:
            OSError: the port of the health server is taken.
        """
        health = HealthServer(self._settings.producer_http_port, self._health, self._metrics)
        await health.start()
        self._publisher.start()
        try:
            told = await self._produce()
        finally:
            left = await self._publisher.stop(FLUSH_LIMIT_SEC)
            await health.stop()
        return 0 if told and not left else 1

    def dispose(self) -> None:
        """Release what NautilusTrader holds."""
        if self._node is not None:
            self._node.dispose()

    async def _produce(self) -> bool:
        """Publish until told to stop; return False if it ended for any other reason."""
        settings = self._settings
        http = BinanceHttpClient(
            clock=LiveClock(),
            api_key=settings.binance_api_key,
            api_secret=settings.binance_api_secret,
            base_url=settings.binance_http_url or BINANCE_HTTP_URL,
            ratelimiter_default_quota=Quota.rate_per_minute(REQUESTS_PER_MINUTE),
        )
        market = BinanceSpotMarketHttpAPI(http, BinanceAccountType.SPOT)
        symbols = await known_symbols(market, settings.symbols, self._metrics)
        if not symbols:
            log.error("no symbol is left to subscribe to")
            return False
        self._arrivals.expect(symbols)
        node = self._node = self._build_node(http, symbols)
        if not await _run_until_told(node):
            log.error("NautilusTrader's node ended by itself; its own log says why")
            return False
        return True

    def _build_node(self, http: BinanceHttpClient, symbols: list[str]) -> TradingNode:
        node = TradingNode(config=_config(self._settings), loop=asyncio.get_running_loop())
        node.add_data_client_factory(CLIENT_ID.value, client_factory(http, self._metrics, self._adopt))
        instrument_ids = [InstrumentId.from_str(f"{symbol}.{VENUE}") for symbol in symbols]
        node.trader.add_actor(EventActor(instrument_ids, self._take, self._resync, self._metrics))
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
        return assess(
            exchange_connected=self._client is not None and self._client.streams_connected(),
            kafka_reachable=self._publisher.reachable,
            queue_depth=self._publisher.waiting,
            queue_limit=self._settings.producer_queue_limit,
            symbols={
                symbol: SymbolHealth(age, self._metrics.resyncs(symbol))
                for symbol, age in self._arrivals.ages_ms().items()
            },
            silent_after_ms=self._settings.down_after_ms,
        )


async def _run_until_told(node: TradingNode) -> bool:
    """Run the node; return whether it ended because of SIGTERM or SIGINT."""
    told = asyncio.Event()

    def stop() -> None:
        if not told.is_set():
            told.set()
            node.stop()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)  # in place of the node's own handlers
    await node.run_async()
    # `run_async` returns when the engines' queues have ended, which is before the node has stopped.
    while node.kernel.is_running():  # noqa: ASYNC110  (it has no event to wait for)
        await asyncio.sleep(0.01)
    return told.is_set()


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
