"""The top 20 of the book as a NautilusTrader data type.

NautilusTrader has no type for 20 levels, and its adapter turns Binance's partial depth into book deltas of
the same instrument, where they would mix with the diffs. A type of its own has its own subscription:
`subscribe_data(data_type(instrument_id), client_id=...)`, delivered to `on_data`. Live it comes from
`producer.client`; in a backtest it is added like any custom data.
"""

import re
from functools import lru_cache
from typing import Final

from nautilus_trader.core.data import Data
from nautilus_trader.model.data import CustomData, DataType
from nautilus_trader.model.identifiers import InstrumentId

from producer.wire import TextLevel

LEVELS: Final = 20

_NUMBER: Final = re.compile(r"(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,18})?")


# These texts go out as JSON numbers unread, so they must be such. Most come again 100 ms later.
@lru_cache(maxsize=2**16)
def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None


class BookDepth(Data):
    """The visible book: levels best first, prices and quantities in the venue's decimal text."""

    def __init__(
        self,
        instrument_id: InstrumentId,
        last_update_id: int,
        bids: list[TextLevel],
        asks: list[TextLevel],
        ts_event: int,
        ts_init: int,
    ) -> None:
        """Check and keep the levels.

        Raises:
            ValueError: a side has more than `LEVELS` levels, or a text is no plain non-negative decimal.
        """
        if max(len(bids), len(asks)) > LEVELS:
            raise ValueError(f"{len(bids)} bids and {len(asks)} asks, at most {LEVELS} are allowed")
        for level in (*bids, *asks):
            if not (_is_number(level[0]) and _is_number(level[1])):
                raise ValueError(f"level {level!r:.80} is not a price and a quantity")
        self.instrument_id = instrument_id
        self.last_update_id = last_update_id
        self.bids = bids
        self.asks = asks
        self._ts_event = ts_event
        self._ts_init = ts_init

    @property
    def ts_event(self) -> int:
        """When the exchange sent it, as near as can be told (see `producer.exchange_clock`); nanoseconds."""
        return self._ts_event

    @property
    def ts_init(self) -> int:
        """When it was received; nanoseconds."""
        return self._ts_init


@lru_cache(maxsize=1024)
def data_type(instrument_id: InstrumentId) -> DataType:
    """Return what to subscribe to."""
    return DataType(BookDepth, metadata={"instrument_id": instrument_id})


def custom_data(depth: BookDepth) -> CustomData:
    """Return `depth` in the wrapping that NautilusTrader's data engine routes by."""
    return CustomData(data_type(depth.instrument_id), depth)
