"""The four market events of topic `nt.binance`, and how their bytes become typed values.

The JSON Schema docs/schemas/events.json is the contract; these structs are its fast form. Decoding checks
types and ranges in one pass, so that whatever leaves `decode` can be trusted by the metrics:
prices are positive, quantities not negative, times within the years 2010-2100.
"""

import re
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec

from app.microstructure import rfc3339

MAX_EVENT_BYTES: Final = 1_048_576  # a full 5,000-level snapshot is about 250 KB
MAX_DEPTH_LEVELS: Final = 20
SYMBOL_PATTERN: Final = r"^[A-Z0-9]{2,20}$"
SYMBOL_ALLOWED: Final = "2 to 20 of A-Z and 0-9, such as BTCUSDT"

_EARLIEST = rfc3339.parse("2010-01-01T00:00:00Z")
_LATEST = rfc3339.parse("2100-01-01T00:00:00Z")
# Far above any market; what lies beyond is a broken producer, and sums of it would swallow real digits.
_ABSURD = 1e15

Symbol = Annotated[str, msgspec.Meta(pattern=SYMBOL_PATTERN)]
Price = Annotated[float, msgspec.Meta(gt=0, lt=_ABSURD)]
Quantity = Annotated[float, msgspec.Meta(ge=0, lt=_ABSURD)]
TradedQuantity = Annotated[float, msgspec.Meta(gt=0, lt=_ABSURD)]
Identifier = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Level = tuple[Price, Quantity]
Side = Literal["buy", "sell"]

is_symbol: Final[Callable[[str], re.Match[str] | None]] = re.compile(r"[A-Z0-9]{2,20}").fullmatch


class BadEventError(ValueError):
    """The bytes are no usable event; `reason` is a short label of fixed vocabulary, the text says more."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


class Nanos(int):
    """Nanoseconds since the Unix epoch (UTC); RFC 3339 text on the wire."""


class _Event(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag_field="type"):
    kind: ClassVar[str]

    symbol: Symbol
    venue: Annotated[str, msgspec.Meta(pattern=r"^[A-Z][A-Z0-9_]{0,19}$")]
    ts_event: Nanos
    ts_init: Nanos | None = None


class TradePayload(msgspec.Struct, frozen=True, gc=False):
    """One trade: price, base quantity, the side that took liquidity and the venue's id."""

    price: Price
    qty: TradedQuantity
    aggressor_side: Side
    trade_id: Identifier


class DeltasPayload(msgspec.Struct, frozen=True, gc=False):
    """Absolute quantities of changed levels for update ids first..final; 0 removes a level.

    `snapshot` replaces the whole book. An empty snapshot says that the book is not known any more.
    """

    first_update_id: Identifier
    final_update_id: Identifier
    snapshot: bool
    bids: list[Level]
    asks: list[Level]


class DepthPayload(msgspec.Struct, frozen=True, gc=False):
    """The visible book as the venue sent it: best first, at most 20 levels a side."""

    last_update_id: Identifier
    bids: Annotated[list[Level], msgspec.Meta(max_length=MAX_DEPTH_LEVELS)]
    asks: Annotated[list[Level], msgspec.Meta(max_length=MAX_DEPTH_LEVELS)]


class TickerPayload(msgspec.Struct, frozen=True, gc=False):
    """The venue's rolling 24 h statistics; `volume_24h` in base units."""

    last_price: Price
    change_24h_pct: Annotated[float, msgspec.Meta(gt=-_ABSURD, lt=_ABSURD)]
    high_24h: Price
    low_24h: Price
    volume_24h: Quantity


class TradeTick(_Event, frozen=True, kw_only=True, gc=False, tag="trade_tick"):
    """A trade."""

    kind = "trade_tick"
    payload: TradePayload


class OrderBookDeltas(_Event, frozen=True, kw_only=True, gc=False, tag="order_book_deltas"):
    """A change of the book, or a snapshot of it."""

    kind = "order_book_deltas"
    payload: DeltasPayload


class OrderBookDepth(_Event, frozen=True, kw_only=True, gc=False, tag="order_book_depth"):
    """The top of the book."""

    kind = "order_book_depth"
    payload: DepthPayload


class Ticker24h(_Event, frozen=True, kw_only=True, gc=False, tag="ticker_24h"):
    """24 h statistics."""

    kind = "ticker_24h"
    payload: TickerPayload


Event = TradeTick | OrderBookDeltas | OrderBookDepth | Ticker24h
EVENT_TYPES: Final = tuple(cls.kind for cls in (TradeTick, OrderBookDeltas, OrderBookDepth, Ticker24h))


def _decode_nanos(expected: type, value: Any) -> Any:
    if expected is not Nanos or not isinstance(value, str):
        raise ValueError("a time must be RFC 3339 text")
    nanos = rfc3339.parse(value)
    if not _EARLIEST <= nanos < _LATEST:
        raise ValueError(f"time {value!r} is outside 2010-2100")
    return Nanos(nanos)


_decode: Final[Callable[[bytes], Event]] = msgspec.json.Decoder(Event, dec_hook=_decode_nanos).decode


def decode(value: bytes | None, key: bytes | None) -> Event:
    """Return the event in a Kafka record.

    Raises:
        BadEventError: empty or oversized value, bad JSON, unknown type, missing or absurd field, crossed
            ids, or a record key that is not the event's symbol.
    """
    if not value:
        raise BadEventError("empty", "the record has no value")
    if len(value) > MAX_EVENT_BYTES:
        raise BadEventError("oversized", f"{len(value)} bytes, at most {MAX_EVENT_BYTES} are allowed")
    try:
        event = _decode(value)
    except msgspec.ValidationError as error:
        raise BadEventError("invalid", str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadEventError("malformed_json", str(error)) from None
    if key != event.symbol.encode():
        raise BadEventError("key_mismatch", f"record key {key!r:.60}, symbol {event.symbol}")
    if type(event) is OrderBookDeltas and event.payload.first_update_id > event.payload.final_update_id:
        raise BadEventError("invalid", "first_update_id is above final_update_id")
    return event
