"""The recorded tape as load: all four event types, for any number of symbols, again and again, at any time.

The tape's trades and diffs are kept as they are. What its recorder left out is added as the venue sends it: after each
diff (10 a second) the top 20 of the book that the diffs make, and once a second the 24 h ticker. Every event becomes a
form with holes for symbol, times and ids, made once by the producer's own encoding; filling one takes under 1 µs. A
*lap* is one time through the tape; the next lap begins with its snapshot, and ids and times go on rising.
"""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from app.microstructure import rfc3339
from app.microstructure.book import OrderBook
from app.microstructure.events import DeltasPayload
from producer import wire
from producer.wire import TextLevel

TAPE = Path(__file__).parents[3] / "shared" / "data" / "btcusdt_spot.tape.gz"
_MS = 1_000_000
_HOLE = 1_111_111_111_111_111_111  # stands for an id, and nothing else on the tape looks like it
_TIME = 1_500_000_000_123 * _MS
_TIME_TEXT = rfc3339.format_nanos(_TIME).encode()
_SYMBOL = "SYMBOL"
_TOP = 20


class TapeEvent(NamedTuple):
    """One event; `after_ms` and `ids` count from the start of the lap."""

    form: bytes
    after_ms: int
    ids: tuple[int, ...]


class Tape(NamedTuple):
    """One lap. Ids of the next one begin `id_span` higher, its times `span_ms` later."""

    events: list[TapeEvent]
    begin_ms: int
    span_ms: int
    id_span: int

    def encode(self, symbol: bytes, number: int, at: bytes) -> bytes:
        """Return the event with this number, counted over all laps, as bytes; `at` is its event time as text."""
        lap, index = divmod(number, len(self.events))
        event = self.events[index]
        shift = lap * self.id_span
        return event.form % (symbol, at, at, *[known + shift for known in event.ids])

    def at_ms(self, number: int) -> int:
        """Return the recorded event time of the event with this number."""
        lap, index = divmod(number, len(self.events))
        return self.begin_ms + lap * self.span_ms + self.events[index].after_ms


def read_tape(path: Path = TAPE, trades_each: int = 1) -> Tape:
    """Return the tape; each trade comes `trades_each` times, as an order that sweeps several makers."""
    with gzip.open(path) as lines:
        messages = [json.loads(line.split(b" ", 1)[1]) for line in lines]
    rest = next(message for message in messages if "lastUpdateId" in message)
    reading = _Reading(rest, trades_each)
    for message in messages:
        data = message.get("data", {})
        if data.get("e") == "depthUpdate" and data["u"] > reading.known:
            reading.diff(data)
        elif data.get("e") == "trade" and reading.events:
            reading.trade(data)
    return reading.tape()


class _Reading:
    """The events so far, and the book and the day's figures that they make."""

    def __init__(self, rest: dict[str, Any], trades_each: int) -> None:
        self.known = int(rest["lastUpdateId"])
        self.events: list[TapeEvent] = []
        self._rest = rest
        self._trades_each = trades_each
        self._begin_ms = self._now_ms = self._ticker_ms = 0
        self._first_trade = self._ids = 0
        self._book = OrderBook()
        self._texts: dict[float, TextLevel] = {}
        self._prices: list[str] = []
        self._volume = 0.0

    def diff(self, data: dict[str, Any]) -> None:
        """Add a diff and the top of the book behind it; before the first one, the snapshot."""
        if not self.events:
            self._begin_ms = self._now_ms = self._ticker_ms = data["E"]
            self._deltas(self.known, self.known, self._rest["bids"], self._rest["asks"], snapshot=True)
        self._now_ms = max(self._now_ms, data["E"])
        self._deltas(data["U"], data["u"], data["b"], data["a"])
        bids, asks = ([self._texts[price] for price, _ in side] for side in self._book.top(_TOP))
        update_id = data["u"] - self.known
        self._add(wire.depth(_SYMBOL, _TIME, _TIME, last_update_id=_HOLE, bids=bids, asks=asks), update_id)

    def trade(self, data: dict[str, Any]) -> None:
        """Add a trade, and the ticker if a second has gone by."""
        self._first_trade = self._first_trade or data["t"]
        self._now_ms = max(self._now_ms, data["T"])
        self._prices.append(data["p"])
        self._volume += float(data["q"])
        side = "sell" if data["m"] else "buy"
        form = wire.trade(_SYMBOL, _TIME, _TIME, price=data["p"], qty=data["q"], side=side, trade_id=str(_HOLE))
        for each in range(self._trades_each):
            self._add(form, (data["t"] - self._first_trade) * self._trades_each + each)
        if self._now_ms >= self._ticker_ms:
            self._ticker_ms = self._now_ms + 1000
            self._ticker()

    def tape(self) -> Tape:
        """Return what was read."""
        return Tape(self.events, self._begin_ms, self._now_ms - self._begin_ms + 100, self._ids + 1)

    def _deltas(self, first: int, final: int, bids: Any, asks: Any, *, snapshot: bool = False) -> None:
        self._texts |= {float(price): (price, quantity) for price, quantity in (*bids, *asks)}
        numbers = [[(float(price), float(quantity)) for price, quantity in side] for side in (bids, asks)]
        self._book.apply_deltas(DeltasPayload(first, final, snapshot, *numbers), self._now_ms * _MS)
        form = wire.deltas(
            _SYMBOL,
            _TIME,
            _TIME,
            first_update_id=_HOLE,
            final_update_id=_HOLE,
            snapshot=snapshot,
            bids=bids,
            asks=asks,
        )
        self._add(form, max(0, first - self.known), final - self.known)

    def _ticker(self) -> None:
        last, low, high = self._prices[-1], *(pick(self._prices, key=float) for pick in (min, max))
        change = 100 * (float(last) / float(self._prices[0]) - 1)
        volume = f"{self._volume:.8f}"
        self._add(
            wire.ticker(_SYMBOL, _TIME, _TIME, last=last, change_pct=f"{change:.3f}", high=high, low=low, volume=volume)
        )

    def _add(self, event: bytes, *ids: int) -> None:
        form = event.replace(b"%", b"%%").replace(_SYMBOL.encode(), b"%b", 1).replace(_TIME_TEXT, b"%b")
        self.events.append(TapeEvent(form.replace(str(_HOLE).encode(), b"%d"), self._now_ms - self._begin_ms, ids))
        self._ids = max(self._ids, *ids, 0)


def records(tape: Tape, symbols: list[str], laps: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield key and value of every event of all symbols, taking turns."""
    keys = [symbol.encode() for symbol in symbols]
    for number in range(laps * len(tape.events)):
        at = time_text(tape.at_ms(number))
        for key in keys:
            yield key, tape.encode(key, number, at)


def time_text(at_ms: int) -> bytes:
    """Return a time, in Unix ms, as events carry it."""
    return rfc3339.format_nanos(at_ms * _MS).encode()
