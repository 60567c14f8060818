"""What the data client knows about one symbol, and what it keeps of the symbol's messages."""

import asyncio
from dataclasses import dataclass

from nautilus_trader.model.data import BookOrder, OrderBookDeltas
from nautilus_trader.model.identifiers import InstrumentId

from producer.book_sync import BookSync
from producer.exchange_clock import ExchangeClock


@dataclass(frozen=True, slots=True)
class Change:
    """A diff as it will be sent on; `deltas` is `None` where no level changed."""

    first_update_id: int
    final_update_id: int
    ts_event: int
    deltas: OrderBookDeltas | None


@dataclass(frozen=True, slots=True)
class Whole:
    """A snapshot whose numbers have been read, so that nothing can fail when it is sent on."""

    last_update_id: int
    levels: list[BookOrder]
    ts_init: int


class Market:
    """One symbol: its book's state, its clock, and whether the book has begun to be followed."""

    def __init__(self, symbol: str, instrument_id: InstrumentId) -> None:
        self.symbol = symbol
        self.instrument_id = instrument_id
        self.clock = ExchangeClock()
        self.sync: BookSync[Change, Whole] = BookSync()
        self.following = False
        self.first_diff = asyncio.Event()
