"""The real NautilusTrader node with its stock Binance adapter, as a program of its own.

`python stock_adapter.py HTTP_URL WS_URL SYMBOL` subscribes to trades, book deltas, quotes and the 24 h
ticker, prints one JSON object with what arrived once each kind has, and leaves. A process of its own, because
the node takes over signals and logging, and a failing callback in it ends the process.
"""

import asyncio
import json
import sys
from decimal import Decimal
from typing import Any

from nautilus_trader.adapters.binance import BINANCE, BinanceDataClientConfig, BinanceLiveDataClientFactory
from nautilus_trader.adapters.binance.common.types import BinanceTicker
from nautilus_trader.common.actor import Actor
from nautilus_trader.config import InstrumentProviderConfig, LoggingConfig, TradingNodeConfig
from nautilus_trader.live.node import TradingNode
from nautilus_trader.model.book import OrderBook
from nautilus_trader.model.data import DataType
from nautilus_trader.model.enums import BookType
from nautilus_trader.model.identifiers import ClientId, InstrumentId, TraderId

ENOUGH = {"trades": 20, "deltas": 20, "quotes": 20, "tickers": 2}


class Listener(Actor):
    """Counts what arrives and keeps NautilusTrader's own book."""

    def __init__(self, instrument_id: InstrumentId, done: asyncio.Event) -> None:
        super().__init__()
        self.instrument_id = instrument_id
        self.done = done
        self.counts = dict.fromkeys(ENOUGH, 0)
        self.book = OrderBook(instrument_id, BookType.L2_MBP)
        self.crossed = 0
        self.trade_ids: list[int] = []
        self.sequences: list[int] = []
        self.last_price: Decimal | None = None

    def on_start(self) -> None:
        self.subscribe_order_book_deltas(self.instrument_id, book_type=BookType.L2_MBP)
        self.subscribe_trade_ticks(self.instrument_id)
        self.subscribe_quote_ticks(self.instrument_id)
        ticker = DataType(BinanceTicker, metadata={"instrument_id": self.instrument_id})
        self.subscribe_data(ticker, client_id=ClientId(BINANCE))

    def on_order_book_deltas(self, deltas: Any) -> None:
        self.book.apply_deltas(deltas)
        self.sequences.append(deltas.sequence)
        bid, ask = self.book.best_bid_price(), self.book.best_ask_price()
        self.crossed += bid is not None and ask is not None and bid >= ask
        self.count("deltas")

    def on_trade_tick(self, tick: Any) -> None:
        self.trade_ids.append(int(tick.trade_id.value))
        self.count("trades")

    def on_quote_tick(self, tick: Any) -> None:
        self.count("quotes")

    def on_data(self, data: Any) -> None:
        self.last_price = data.last_price
        self.count("tickers")

    def count(self, kind: str) -> None:
        self.counts[kind] += 1
        if all(self.counts[name] >= least for name, least in ENOUGH.items()):
            self.done.set()

    def summary(self) -> dict[str, Any]:
        return {
            **self.counts,
            "crossed": self.crossed,
            "first_trade_id": self.trade_ids[0],
            "trade_ids_without_gap": self.trade_ids == list(range(self.trade_ids[0], self.trade_ids[-1] + 1)),
            "sequences_rise": self.sequences == sorted(self.sequences),
            "levels": [len(self.book.bids()), len(self.book.asks())],
            "last_price": str(self.last_price),
            "instrument": {
                "price_increment": str(self.cache.instrument(self.instrument_id).price_increment),
                "size_increment": str(self.cache.instrument(self.instrument_id).size_increment),
            },
        }


async def main(http_url: str, ws_url: str, symbol: str) -> None:
    instrument_id = InstrumentId.from_str(f"{symbol}.{BINANCE}")
    config = TradingNodeConfig(
        trader_id=TraderId("TESTER-001"),
        timeout_disconnection=1.0,
        timeout_post_stop=0.0,
        logging=LoggingConfig(log_level="ERROR"),
        data_clients={
            BINANCE: BinanceDataClientConfig(
                base_url_http=http_url,
                base_url_ws=ws_url,
                instrument_provider=InstrumentProviderConfig(load_ids=frozenset([instrument_id])),
            )
        },
    )
    node = TradingNode(config=config, loop=asyncio.get_running_loop())
    done = asyncio.Event()
    listener = Listener(instrument_id, done)
    node.trader.add_actor(listener)
    node.add_data_client_factory(BINANCE, BinanceLiveDataClientFactory)
    node.build()
    running = asyncio.create_task(node.run_async())
    try:
        async with asyncio.timeout(60):
            await done.wait()
    except TimeoutError:
        sys.exit(f"not enough arrived in 60 s: {listener.counts}")
    print(json.dumps(listener.summary()), flush=True)
    await node.stop_async()
    running.cancel()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
