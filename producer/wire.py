"""The four events as JSON bytes (docs/schemas/events.json), with the venue's decimal text as JSON numbers.

Prices and quantities come in as text and go out as the same text: no float in between could keep
`61737.63000000`. The text is written by hand, since no JSON library can emit a number from text as fast, so
every piece that goes in must be plain: symbols are A-Z and 0-9, numbers are checked where they are made.
"""

from collections.abc import Iterable
from enum import Enum
from functools import lru_cache
from typing import Final

import msgspec

from app.microstructure.rfc3339 import format_nanos

VENUE: Final = "BINANCE"
_MS: Final = 1_000_000
_US: Final = 1_000

TextLevel = tuple[str, str]
"""Price and quantity as the venue writes them."""


class Kind(Enum):
    """What an event is to those who pass it on; a snapshot is an `order_book_deltas` that needs no past."""

    TRADE = "trade_tick"
    DIFF = "order_book_deltas"
    SNAPSHOT = "order_book_deltas snapshot"
    DEPTH = "order_book_depth"
    TICKER = "ticker_24h"

    __hash__ = object.__hash__  # each is one object; what Enum has instead costs as much as counting with it

    @property
    def event_type(self) -> str:
        """The `type` that the event carries."""
        return self.value.partition(" ")[0]


# An enum's value takes longer to get than all of a time to be looked up.
_TRADE, _DIFF, _DEPTH, _TICKER = (kind.value for kind in (Kind.TRADE, Kind.DIFF, Kind.DEPTH, Kind.TICKER))


def trade(symbol: str, ts_event: int, ts_init: int, *, price: str, qty: str, side: str, trade_id: str) -> bytes:
    """Return a `trade_tick`; times in nanoseconds, `side` is `buy` or `sell`, the side that took liquidity."""
    return (
        f'{_envelope(symbol, _TRADE, ts_event, ts_init)}{{"price":{price},"qty":{qty},'
        f'"aggressor_side":"{side}","trade_id":{trade_id}}}}}'
    ).encode()


def deltas(
    symbol: str,
    ts_event: int,
    ts_init: int,
    *,
    first_update_id: int,
    final_update_id: int,
    snapshot: bool,
    bids: Iterable[TextLevel],
    asks: Iterable[TextLevel],
) -> bytes:
    """Return an `order_book_deltas`; a snapshot without levels says that the book is not known."""
    return (
        f'{_envelope(symbol, _DIFF, ts_event, ts_init)}{{"first_update_id":{first_update_id},'
        f'"final_update_id":{final_update_id},"snapshot":{"true" if snapshot else "false"},'
        f'"bids":[{_levels(bids)}],"asks":[{_levels(asks)}]}}}}'
    ).encode()


class _Ids(msgspec.Struct):
    first_update_id: int = 0
    last_update_id: int = 0
    snapshot: bool = True


class _BookEvent(msgspec.Struct):
    symbol: str
    ts_event: str
    ts_init: str
    payload: _Ids


_decode_book_event: Final = msgspec.json.Decoder(_BookEvent).decode


def not_known(event: bytes) -> bytes:
    """Return what says that the book is not known from this `order_book_deltas` or `order_book_depth` on."""
    was = _decode_book_event(event)
    update_id = max(was.payload.first_update_id, was.payload.last_update_id) - (not was.payload.snapshot)
    return (
        f'{{"symbol":"{was.symbol}","venue":"{VENUE}","type":"{Kind.DIFF.value}","ts_event":"{was.ts_event}",'
        f'"ts_init":"{was.ts_init}","payload":{{"first_update_id":{update_id},"final_update_id":{update_id},'
        f'"snapshot":true,"bids":[],"asks":[]}}}}'
    ).encode()


def depth(
    symbol: str,
    ts_event: int,
    ts_init: int,
    *,
    last_update_id: int,
    bids: Iterable[TextLevel],
    asks: Iterable[TextLevel],
) -> bytes:
    """Return an `order_book_depth`; levels best first, at most 20 a side."""
    return (
        f'{_envelope(symbol, _DEPTH, ts_event, ts_init)}{{"last_update_id":{last_update_id},'
        f'"bids":[{_levels(bids)}],"asks":[{_levels(asks)}]}}}}'
    ).encode()


def ticker(
    symbol: str, ts_event: int, ts_init: int, *, last: str, change_pct: str, high: str, low: str, volume: str
) -> bytes:
    """Return a `ticker_24h`; `volume` in base units."""
    return (
        f'{_envelope(symbol, _TICKER, ts_event, ts_init)}{{"last_price":{last},'
        f'"change_24h_pct":{change_pct},"high_24h":{high},"low_24h":{low},"volume_24h":{volume}}}}}'
    ).encode()


def _envelope(symbol: str, kind: str, ts_event: int, ts_init: int) -> str:
    # Binance counts event times in ms. NautilusTrader brings them through a float, which is off by up to
    # 128 ns, so rounding restores the exact value. For our own receive time microseconds are plenty.
    init_sec, init_us = divmod(ts_init // _US, 1_000_000)
    init = f"{init_us:06d}" if init_us % 1_000 else f"{init_us // 1_000:03d}"
    return (
        f"{_head(symbol, kind)}{_milliseconds((ts_event + _MS // 2) // _MS)}"
        f'","ts_init":"{_second(init_sec)}.{init}Z","payload":'
    )


@lru_cache(maxsize=4096)
def _head(symbol: str, kind: str) -> str:
    return f'{{"symbol":"{symbol}","venue":"{VENUE}","type":"{kind}","ts_event":"'


# A busy exchange has many events in a millisecond; to write their time anew each time takes as long as all the rest.
@lru_cache(maxsize=1024)
def _milliseconds(ms: int) -> str:
    seconds, rest = divmod(ms, 1_000)
    return f"{_second(seconds)}.{rest:03d}Z"


@lru_cache(maxsize=256)
def _second(seconds: int) -> str:
    """Return a time without its fraction."""
    return format_nanos(seconds * 1_000_000_000).partition(".")[0]


def _levels(levels: Iterable[TextLevel]) -> str:
    return ",".join([f"[{price},{qty}]" for price, qty in levels])
