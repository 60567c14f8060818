"""From NautilusTrader's market data to the events of the topic.

The actor knows neither asyncio nor Kafka: it hands each event to a function. So the very same class runs
live and in a backtest.

NautilusTrader keeps only the final id of a diff. Its predecessor's final id plus one is the first, as long as
none was lost in between, which `producer.client` guarantees up to here. From here on the actor sees to it:
where a diff cannot be published, or comes out of order, the symbol's diffs stop until the next snapshot, and
`lost` is called so that somebody fetches one. Otherwise the next diff would claim the missing one's ids.

An exception that leaves a callback would end the whole process, so none does.
"""

import logging
from collections.abc import Callable, Sequence
from functools import lru_cache, wraps
from typing import Any, Final

from nautilus_trader.adapters.binance.common.types import BinanceTicker
from nautilus_trader.common.actor import Actor
from nautilus_trader.model.data import DataType, OrderBookDelta, OrderBookDeltas, TradeTick
from nautilus_trader.model.enums import AggressorSide, BookAction, BookType, OrderSide
from nautilus_trader.model.identifiers import ClientId, InstrumentId
from nautilus_trader.model.objects import Price, Quantity

from producer import wire
from producer.depth import BookDepth, data_type
from producer.messages import TextDeltas
from producer.metrics import Metrics
from producer.wire import Kind, TextLevel

CLIENT_ID: Final = ClientId("BINANCE")
_EVENT_TYPES: Final = {
    TradeTick: Kind.TRADE.event_type,
    OrderBookDeltas: Kind.DIFF.event_type,
    BookDepth: Kind.DEPTH.event_type,
    BinanceTicker: Kind.TICKER.event_type,
}
_SIDES: Final = {AggressorSide.BUYER: "buy", AggressorSide.SELLER: "sell"}

Sink = Callable[[str, Kind, bytes], None]
"""Takes symbol, kind and JSON of an event."""

log = logging.getLogger(__name__)


# Most prices and quantities come again and again; a text seen before costs a tenth. Two caches, since a
# quantity may be larger than any price.
@lru_cache(maxsize=2**15)
def _price_text(raw: int, precision: int) -> str:
    return str(Price.from_raw(raw, precision))


@lru_cache(maxsize=2**15)
def _quantity_text(raw: int, precision: int) -> str:
    return str(Quantity.from_raw(raw, precision))


def _guarded[S: EventActor, M](callback: Callable[[S, M], None]) -> Callable[[S, M], None]:
    @wraps(callback)
    def guarded(actor: S, data: M) -> None:
        try:
            callback(actor, data)
        except Exception as error:
            try:
                actor.failed(data, error)
            except Exception:
                log.exception("failure of an event not dealt with")

    return guarded


class EventActor(Actor):
    """Subscribes to everything about the given instruments and turns it into events."""

    def __init__(
        self,
        instrument_ids: Sequence[InstrumentId],
        sink: Sink,
        lost: Callable[[str, str], None],
        metrics: Metrics,
    ) -> None:
        """Hand events to `sink`; call `lost(symbol, reason)` when a book's diffs are broken off."""
        super().__init__()
        self._instrument_ids = instrument_ids
        self._sink = sink
        self._lost = lost
        self._metrics = metrics
        self._book_ids: dict[str, int] = {}
        self._book_times: dict[str, int] = {}

    def on_start(self) -> None:
        """Subscribe."""
        self.add(self._instrument_ids)

    def add(self, instrument_ids: Sequence[InstrumentId]) -> None:
        """Subscribe to more."""
        for instrument_id in instrument_ids:
            self.subscribe_trade_ticks(instrument_id)
            self.subscribe_order_book_deltas(instrument_id, book_type=BookType.L2_MBP, managed=False)
            self.subscribe_data(data_type(instrument_id), client_id=CLIENT_ID)
            self.subscribe_data(ticker_type(instrument_id), client_id=CLIENT_ID)

    def remove(self, instrument_ids: Sequence[InstrumentId]) -> None:
        """Unsubscribe, and publish last that the book is not known."""
        for instrument_id in instrument_ids:
            self._give_up(instrument_id.symbol.value)
            self.unsubscribe_trade_ticks(instrument_id)
            self.unsubscribe_order_book_deltas(instrument_id)
            self.unsubscribe_data(data_type(instrument_id), client_id=CLIENT_ID)
            self.unsubscribe_data(ticker_type(instrument_id), client_id=CLIENT_ID)

    def on_stop(self) -> None:
        """Do nothing: the client's connections are closed as a whole."""

    @_guarded
    def on_trade_tick(self, trade: TradeTick) -> None:
        """Publish a `trade_tick`."""
        symbol = trade.instrument_id.symbol.value
        price, size = trade.price, trade.size  # each look at them makes a new object
        event = wire.trade(
            symbol,
            trade.ts_event,
            trade.ts_init,
            price=_price_text(price.raw, price.precision),
            qty=_quantity_text(size.raw, size.precision),
            side=_SIDES[trade.aggressor_side],
            trade_id=str(int(trade.trade_id.value)),
        )
        self._publish(symbol, Kind.TRADE, event)

    @_guarded
    def on_order_book_deltas(self, deltas: OrderBookDeltas) -> None:
        """Publish an `order_book_deltas`: a snapshot if it begins with CLEAR, else a diff."""
        symbol = deltas.instrument_id.symbol.value
        changes = deltas.deltas
        if changes[0].action == BookAction.CLEAR:
            first = final = deltas.sequence
            kind, changes = Kind.SNAPSHOT, changes[1:]
        else:
            before = self._book_ids.get(symbol)
            if before is None:
                return  # of a book that was given up; its snapshot is on the way
            first, final, kind = before + 1, deltas.sequence, Kind.DIFF
            if final < first:
                raise ValueError(f"diff up to update {final} came after update {before}")
        bids, asks = (deltas.bids, deltas.asks) if isinstance(deltas, TextDeltas) else _levels(changes)
        event = wire.deltas(
            symbol,
            deltas.ts_event,
            deltas.ts_init,
            first_update_id=first,
            final_update_id=final,
            snapshot=kind is Kind.SNAPSHOT,
            bids=bids,
            asks=asks,
        )
        self._publish(symbol, kind, event)
        if bids or asks or kind is Kind.DIFF:
            self._book_ids[symbol] = final
            self._book_times[symbol] = deltas.ts_event
        else:
            self._book_ids.pop(symbol, None)

    @_guarded
    def on_data(self, data: Any) -> None:
        """Publish an `order_book_depth` or a `ticker_24h`."""
        symbol = data.instrument_id.symbol.value
        if isinstance(data, BookDepth):
            event = wire.depth(
                symbol,
                data.ts_event,
                data.ts_init,
                last_update_id=data.last_update_id,
                bids=data.bids,
                asks=data.asks,
            )
            self._publish(symbol, Kind.DEPTH, event)
        elif isinstance(data, BinanceTicker):
            if data.low_price > 0:  # 0 means no trade in 24 h: there is nothing to tell
                self._publish(symbol, Kind.TICKER, _ticker(symbol, data))
        else:
            raise TypeError(f"{type(data).__name__} was not subscribed to")

    def failed(self, data: Any, error: Exception) -> None:
        """Count and log what went wrong with `data`, and break its book's diffs off if it was one."""
        instrument_id = getattr(data, "instrument_id", None)
        symbol = instrument_id.symbol.value if instrument_id else "?"
        self._metrics.error("actor", error)
        log.error(
            "%s of %s not published",
            type(data).__name__,
            symbol,
            exc_info=error,
            extra={"symbol": symbol, "event_type": _EVENT_TYPES.get(type(data))},
        )
        if isinstance(data, OrderBookDeltas):
            self._book_ids.pop(symbol, None)
            self._lost(symbol, "actor")

    def _give_up(self, symbol: str) -> None:
        update_id = self._book_ids.pop(symbol, None)
        if update_id is None:
            return  # that it is not known has been published
        event = wire.deltas(
            symbol,
            self._book_times[symbol],
            self.clock.timestamp_ns(),
            first_update_id=update_id,
            final_update_id=update_id,
            snapshot=True,
            bids=(),
            asks=(),
        )
        self._publish(symbol, Kind.SNAPSHOT, event)

    def _publish(self, symbol: str, kind: Kind, event: bytes) -> None:
        self._metrics.event(symbol, kind)
        self._sink(symbol, kind, event)


def ticker_type(instrument_id: InstrumentId) -> DataType:
    """Return what to subscribe to for 24 h tickers."""
    return DataType(BinanceTicker, metadata={"instrument_id": instrument_id})


def _levels(changes: list[OrderBookDelta]) -> tuple[list[TextLevel], list[TextLevel]]:
    bids: list[TextLevel] = []
    asks: list[TextLevel] = []
    for change in changes:
        order = change.order
        price, size = order.price, order.size
        level = _price_text(price.raw, price.precision), _quantity_text(size.raw, size.precision)
        (bids if order.side == OrderSide.BUY else asks).append(level)
    return bids, asks


def _ticker(symbol: str, ticker: BinanceTicker) -> bytes:
    return wire.ticker(
        symbol,
        ticker.ts_event,
        ticker.ts_init,
        last=_decimal(ticker.last_price),
        change_pct=_decimal(ticker.price_change_percent),
        high=_decimal(ticker.high_price),
        low=_decimal(ticker.low_price),
        volume=_decimal(ticker.volume),
    )


def _decimal(value: Any) -> str:
    if not value.is_finite():
        raise ValueError(f"{value} is not a number")
    # Never in scientific notation, and with the digits that the venue sent.
    return f"{value:f}"
