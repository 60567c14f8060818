"""Binance Spot's public payloads, with its field names, field order and types: numbers in text, times in ms.

Source: "Web Socket Streams for Binance" and "Public Rest API for Binance" in binance/binance-spot-api-docs.
The same structs read a tape and write a stream; what they do not name is dropped.
"""

from typing import Annotated, Final

import msgspec

from producer.exchange.book import Depth, Level
from producer.exchange.units import to_text

TextLevel = tuple[str, str]
"""Price and quantity as decimal text."""

Identifier = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Millis = Annotated[int, msgspec.Meta(ge=0, le=2**53)]

encode: Final = msgspec.json.Encoder().encode


class Trade(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename={
        "event": "e", "event_time": "E", "symbol": "s", "trade_id": "t", "price": "p", "quantity": "q",
        "trade_time": "T", "buyer_is_maker": "m", "ignored": "M",
    },
):  # fmt: skip
    """`<symbol>@trade`."""

    event: str = "trade"
    event_time: Millis
    symbol: str
    trade_id: Identifier
    price: str
    quantity: str
    trade_time: Millis
    buyer_is_maker: bool
    ignored: bool = True


class DepthUpdate(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename={
        "event": "e", "event_time": "E", "symbol": "s", "first_update_id": "U", "final_update_id": "u",
        "bids": "b", "asks": "a",
    },
):  # fmt: skip
    """`<symbol>@depth`: the levels that changed between two update ids, with their new total quantities."""

    event: str = "depthUpdate"
    event_time: Millis
    symbol: str
    first_update_id: Identifier
    final_update_id: Identifier
    bids: list[TextLevel]
    asks: list[TextLevel]


class BookTicker(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename={
        "update_id": "u", "symbol": "s", "bid_price": "b", "bid_quantity": "B", "ask_price": "a",
        "ask_quantity": "A",
    },
):  # fmt: skip
    """`<symbol>@bookTicker`: the best bid and ask as of one update id."""

    update_id: Identifier
    symbol: str
    bid_price: str
    bid_quantity: str
    ask_price: str
    ask_quantity: str


class Ticker24h(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename={
        "event": "e", "event_time": "E", "symbol": "s", "price_change": "p", "price_change_percent": "P",
        "weighted_average_price": "w", "previous_close": "x", "last_price": "c", "last_quantity": "Q",
        "bid_price": "b", "bid_quantity": "B", "ask_price": "a", "ask_quantity": "A", "open_price": "o",
        "high_price": "h", "low_price": "l", "volume": "v", "quote_volume": "q", "open_time": "O",
        "close_time": "C", "first_trade_id": "F", "last_trade_id": "L", "trade_count": "n",
    },
):  # fmt: skip
    """`<symbol>@ticker`: statistics of the last 24 hours."""

    event: str = "24hrTicker"
    event_time: Millis
    symbol: str
    price_change: str
    price_change_percent: str
    weighted_average_price: str
    previous_close: str
    last_price: str
    last_quantity: str
    bid_price: str
    bid_quantity: str
    ask_price: str
    ask_quantity: str
    open_price: str
    high_price: str
    low_price: str
    volume: str
    quote_volume: str
    open_time: Millis
    close_time: Millis
    first_trade_id: int
    last_trade_id: int
    trade_count: Identifier


class DepthSnapshot(msgspec.Struct, frozen=True, kw_only=True, rename={"last_update_id": "lastUpdateId"}):
    """`GET /api/v3/depth`, and `<symbol>@depth20` and its like: best levels first."""

    last_update_id: Identifier
    bids: list[TextLevel]
    asks: list[TextLevel]

    @classmethod
    def of(cls, depth: Depth) -> "DepthSnapshot":
        """Write a snapshot out."""
        return cls(last_update_id=depth.last_update_id, bids=text_levels(depth.bids), asks=text_levels(depth.asks))


class Message(msgspec.Struct, frozen=True, gc=False):
    """One message of one stream: `payload` is the JSON of the raw stream."""

    stream: str
    payload: bytes

    def combined(self) -> bytes:
        """Return the payload in the wrapping of a combined stream."""
        return b'{"stream":"%b","data":%b}' % (self.stream.encode(), self.payload)


def text_levels(levels: list[Level]) -> list[TextLevel]:
    """Write levels out."""
    return [(to_text(price), to_text(quantity)) for price, quantity in levels]
