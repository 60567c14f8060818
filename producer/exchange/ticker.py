"""The 24 h ticker: statistics over a rolling window, kept in buckets of one minute.

A trade goes into its minute's bucket; a bucket leaves the window as a whole once it is 24 hours old, so the
window is up to a minute shorter than 24 hours. Sums are kept up to date; high and low are taken over the at
most 1,441 buckets when asked for, which is once a second.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final

import msgspec

from producer.exchange.book import Level
from producer.exchange.messages import Ticker24h
from producer.exchange.units import ONE, to_text

MINUTE_MS: Final = 60_000
WINDOW_MS: Final = 24 * 60 * MINUTE_MS


class Minute(msgspec.Struct):
    """The trades of one minute. Prices and volumes are in units, `start_ms` is a multiple of a minute."""

    start_ms: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    quote_volume: int
    first_trade_id: int
    trade_count: int


class RollingTicker:
    """What `@ticker` says of one symbol. `history` is older trading, oldest minute first."""

    def __init__(self, history: Iterable[Minute] = ()) -> None:
        self._minutes: deque[Minute] = deque()
        self._volume = self._quote_volume = self._count = 0
        self._last_quantity = 0
        self._last_trade_id = -1
        self._previous_close: int | None = None
        for minute in history:
            self._minutes.append(minute)
            self._volume += minute.volume
            self._quote_volume += minute.quote_volume
            self._count += minute.trade_count
            self._last_trade_id = minute.first_trade_id + minute.trade_count - 1

    @property
    def last_trade_id(self) -> int:
        """The newest trade's id, -1 before the first."""
        return self._last_trade_id

    def add_trade(self, time_ms: int, trade_id: int, price: int, quantity: int) -> None:
        """Count one trade; times and ids must not fall."""
        start_ms = time_ms - time_ms % MINUTE_MS
        worth = price * quantity // ONE
        if self._minutes and self._minutes[-1].start_ms >= start_ms:
            minute = self._minutes[-1]
            minute.high, minute.low = max(minute.high, price), min(minute.low, price)
            minute.close = price
            minute.volume += quantity
            minute.quote_volume += worth
            minute.trade_count += 1
        else:
            self._minutes.append(Minute(start_ms, price, price, price, price, quantity, worth, trade_id, trade_count=1))
        self._volume += quantity
        self._quote_volume += worth
        self._count += 1
        self._last_quantity = quantity
        self._last_trade_id = trade_id

    def report(self, symbol: str, now_ms: int, bid: Level | None, ask: Level | None) -> Ticker24h | None:
        """Return the statistics as of `now_ms`, `None` where nothing was traded in the window."""
        self._expire(now_ms - WINDOW_MS)
        if not self._minutes:
            return None
        first, last = self._minutes[0], self._minutes[-1]
        change = last.close - first.open
        before = first.open if self._previous_close is None else self._previous_close
        return Ticker24h(
            event_time=now_ms,
            symbol=symbol,
            price_change=to_text(change),
            price_change_percent=f"{100 * change / first.open:.3f}",
            weighted_average_price=to_text(self._quote_volume * ONE // self._volume),
            previous_close=to_text(before),
            last_price=to_text(last.close),
            last_quantity=to_text(self._last_quantity),
            bid_price=to_text(bid[0] if bid else 0),
            bid_quantity=to_text(bid[1] if bid else 0),
            ask_price=to_text(ask[0] if ask else 0),
            ask_quantity=to_text(ask[1] if ask else 0),
            open_price=to_text(first.open),
            high_price=to_text(max(minute.high for minute in self._minutes)),
            low_price=to_text(min(minute.low for minute in self._minutes)),
            volume=to_text(self._volume),
            quote_volume=to_text(self._quote_volume),
            open_time=max(0, now_ms - WINDOW_MS),
            close_time=now_ms,
            first_trade_id=first.first_trade_id,
            last_trade_id=self._last_trade_id,
            trade_count=self._count,
        )

    def _expire(self, horizon_ms: int) -> None:
        while self._minutes and self._minutes[0].start_ms < horizon_ms:
            gone = self._minutes.popleft()
            self._volume -= gone.volume
            self._quote_volume -= gone.quote_volume
            self._count -= gone.trade_count
            self._previous_close = gone.close
