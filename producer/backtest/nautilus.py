"""NautilusTrader data through NautilusTrader's `BacktestEngine` and the live actor, out as event bytes.

The engine replays by `ts_init`, the order of receipt, so the actor sees what it would have seen live and
publishes the same bytes. Data goes in by batches: memory does not grow with the recording. Nothing is
decoded or computed inside an actor callback, where NautilusTrader would be in the way of an error.
"""

import logging
from collections.abc import Callable, Generator
from itertools import batched
from typing import Any, Final

from nautilus_trader.backtest.config import BacktestEngineConfig
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.common.config import LoggingConfig
from nautilus_trader.model.currencies import BTC, USDT
from nautilus_trader.model.enums import AccountType, OmsType
from nautilus_trader.model.identifiers import InstrumentId, Symbol, Venue
from nautilus_trader.model.instruments import CurrencyPair
from nautilus_trader.model.objects import Money, Price, Quantity

from producer.actor import CLIENT_ID, EventActor
from producer.backtest.source import BacktestError, Source
from producer.exchange.units import DECIMALS
from producer.metrics import Metrics
from producer.wire import VENUE, Kind

BATCH: Final = 2000

# The actor logs what it cannot turn into an event; here that ends the run and is told as its error.
logging.getLogger("producer").addHandler(logging.NullHandler())


class _Failures(Metrics):
    """Counts as live, and keeps the first error that the actor caught."""

    def __init__(self) -> None:
        super().__init__()
        self.first: BaseException | None = None

    def error(self, component: str, error: BaseException) -> None:
        super().error(component, error)
        self.first = self.first or error


def instrument_id(symbol: str) -> InstrumentId:
    """Return NautilusTrader's name of a symbol."""
    return InstrumentId.from_str(f"{symbol}.{VENUE}")


def replayed(source: Source, advance: Callable[[int], None]) -> Generator[tuple[str, bytes]]:
    """Yield symbol and JSON of every event of `source` in order of receipt; `advance` gets messages done.

    Raises:
        BacktestError: something recorded cannot be turned into an event.
    """
    received: list[tuple[str, bytes]] = []

    def sink(symbol: str, kind: Kind, event: bytes) -> None:
        received.append((symbol, event))

    failures = _Failures()
    engine = _engine(source, sink, failures)
    try:
        for batch in batched(source.data(), BATCH):
            engine.add_data(list(batch), client_id=CLIENT_ID)
            try:
                engine.run(streaming=True)
            except RuntimeError as error:
                raise BacktestError(f"NautilusTrader refuses the data: {error}") from None
            engine.clear_data()
            if failures.first is not None:
                raise BacktestError(f"recorded data cannot be turned into an event: {failures.first!r}")
            yield from received
            received.clear()
            advance(len(batch))
    finally:
        engine.end()
        engine.dispose()


def _engine(source: Source, sink: Callable[[str, Kind, bytes], None], failures: _Failures) -> BacktestEngine:
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)))
    engine.add_venue(Venue(VENUE), OmsType.NETTING, AccountType.CASH, [Money(1, USDT)])
    for symbol in source.symbols:
        engine.add_instrument(_instrument(symbol))
    ids = [instrument_id(symbol) for symbol in source.symbols]
    engine.add_actor(EventActor(ids, sink, lambda symbol, reason: None, failures))
    return engine


def _instrument(symbol: str) -> Any:
    # The engine wants an instrument for each symbol. Nobody trades here, so only its decimals matter.
    return CurrencyPair(
        instrument_id=instrument_id(symbol),
        raw_symbol=Symbol(symbol),
        base_currency=BTC,
        quote_currency=USDT,
        price_precision=DECIMALS,
        size_precision=DECIMALS,
        price_increment=Price(10**-DECIMALS, DECIMALS),
        size_increment=Quantity(10**-DECIMALS, DECIMALS),
        ts_event=0,
        ts_init=0,
    )
