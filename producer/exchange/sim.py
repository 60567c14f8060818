"""The synthetic market: seeded symbols, each with its own order flow, book and 24 h history.

Time is only ever told (`advance`), and every symbol draws from a generator of its own, seeded with the
market's seed and its name. So the messages of a symbol depend on the seed, the rate and the start time, and
neither on how often the market is advanced nor on which other symbols and streams there are.

A symbol's *rate* is the events that a consumer of `@trade` and `@depth@100ms` sees per second, on average:
the ten diffs and, for the rest, trades. Below 20, half of it is trades.
"""

import heapq
import random
from collections.abc import Container, Iterator, Sequence
from typing import Final

from producer.exchange.book import Depth, Side
from producer.exchange.feed import Feed
from producer.exchange.messages import Message, Trade
from producer.exchange.order_flow import Change, OrderFlow
from producer.exchange.symbols import Listing, SymbolInfo, listing
from producer.exchange.ticker import MINUTE_MS, WINDOW_MS, Minute, RollingTicker
from producer.exchange.units import ONE, to_text

FAST_BEAT_NS: Final = 100_000_000
FAST_BEATS_PER_SLOW: Final = 10
_NS_PER_MS: Final = 1_000_000
_FIRST_TRADE_ID: Final = 10_000_000_000
_FIRST_UPDATE_ID: Final = 1_000_000_000
_HISTORY_STEP: Final = 7e-4  # standard deviation of a minute's return: 50 % a year


class SymbolSim:
    """One symbol. `next_ns` is when it does something next, `step` does it."""

    def __init__(self, listing: Listing, seed: int, rate: float, start_ns: int) -> None:
        symbol = listing.info.symbol
        rng = random.Random(f"{seed}:{symbol}")
        trades_per_sec = max(rate - 1e9 / FAST_BEAT_NS, rate / 2)
        history = seeded_history(listing, rng, start_ns // _NS_PER_MS, trades_per_sec)
        self._trade_id = history[-1].first_trade_id + history[-1].trade_count - 1
        self._flow = OrderFlow(listing, rng, trades_per_sec)
        self.feed = Feed(listing.info, self._flow.open_book(_FIRST_UPDATE_ID), RollingTicker(history))
        self._beats = 0
        self._beat_ns = start_ns + FAST_BEAT_NS
        self._action_ns = start_ns
        self._await_action()

    @property
    def next_ns(self) -> int:
        """When the next action or beat is due."""
        return min(self._beat_ns, self._action_ns)

    def step(self, wanted: Container[str]) -> Iterator[Message]:
        """Do what is due next and yield its messages."""
        if self._beat_ns <= self._action_ns:
            return self._beat(wanted)
        return self._act(wanted)

    def _beat(self, wanted: Container[str]) -> Iterator[Message]:
        event_ms = self._beat_ns // _NS_PER_MS
        self._beats += 1
        self._beat_ns += FAST_BEAT_NS
        yield from self.feed.fast_beat(event_ms, wanted)
        if self._beats % FAST_BEATS_PER_SLOW == 0:
            yield from self.feed.slow_beat(event_ms, wanted)
            yield from self.feed.ticker_24h(event_ms, wanted)

    def _act(self, wanted: Container[str]) -> Iterator[Message]:
        event_ms = self._action_ns // _NS_PER_MS
        for change in self._flow.act(self.feed.book):
            yield from self._apply(change, event_ms, wanted)
        self._await_action()

    def _apply(self, change: Change, event_ms: int, wanted: Container[str]) -> Iterator[Message]:
        book = self.feed.book
        side = book.side(change.side)
        best = side.best()
        side.put(change.price, change.quantity)
        book.last_update_id += 1
        self.feed.fast.touch(change.side, change.price)
        self.feed.slow.touch(change.side, change.price)
        if change.traded:
            trade = self._trade(change, event_ms)
            yield from self.feed.trade(trade, change.price, change.traded, wanted)
        if side.best() != best:
            yield from self.feed.book_ticker(wanted)

    def _trade(self, change: Change, event_ms: int) -> Trade:
        self._trade_id += 1
        return Trade(
            event_time=event_ms,
            symbol=self.feed.info.symbol,
            trade_id=self._trade_id,
            price=to_text(change.price),
            quantity=to_text(change.traded),
            trade_time=event_ms,
            buyer_is_maker=change.side is Side.BID,
        )

    def _await_action(self) -> None:
        # Never 0, so that two actions are never at the same instant.
        self._action_ns += max(1, int(self._flow.next_wait() * 1e9))


class SimMarket:
    """Symbols that trade by themselves from `start_ns` on. A `Market`."""

    def __init__(self, symbols: Sequence[str], *, seed: int, rate: float, start_ns: int) -> None:
        self._sims = {symbol: SymbolSim(listing(symbol), seed, rate, start_ns) for symbol in symbols}
        self._due = [(sim.next_ns, rank, sim) for rank, sim in enumerate(self._sims.values())]
        heapq.heapify(self._due)

    def symbols(self) -> Sequence[str]:
        """Return the symbols, in the order given."""
        return list(self._sims)

    def info(self, symbol: str) -> SymbolInfo:
        """Return a symbol's rules."""
        return self._sims[symbol].feed.info

    def depth(self, symbol: str, limit: int) -> Depth:
        """Return a symbol's book as it is."""
        return self._sims[symbol].feed.book.depth(limit)

    def feed(self, symbol: str) -> Feed:
        """Return a symbol's book and streams, for a market that wraps this one."""
        return self._sims[symbol].feed

    def subscribed(self, now_ns: int) -> None:
        """Trade on: this market waits for nobody."""

    def close(self) -> None:
        """Nothing is open."""

    def advance(self, now_ns: int, wanted: Container[str]) -> Iterator[Message]:
        """Trade until `now_ns`, all symbols in order of time."""
        while self._due and self._due[0][0] <= now_ns:
            _, rank, sim = self._due[0]
            yield from sim.step(wanted)
            heapq.heapreplace(self._due, (sim.next_ns, rank, sim))


def seeded_history(listing: Listing, rng: random.Random, start_ms: int, trades_per_sec: float) -> list[Minute]:
    """Return 24 hours of trading before `start_ms`, oldest first, that end at the listing's price."""
    tick, step = listing.info.tick, listing.info.step
    minutes: list[Minute] = []
    start = start_ms - start_ms % MINUTE_MS
    close = listing.price
    trade_id = _FIRST_TRADE_ID
    for age in range(1, WINDOW_MS // MINUTE_MS):
        count = max(1, round(60 * trades_per_sec * rng.uniform(0.5, 1.5)))
        opened = max(tick, round(close * (1 - rng.gauss(0.0, _HISTORY_STEP)) / tick) * tick)
        swing = round(abs(rng.gauss(0.0, _HISTORY_STEP / 2)) * close / tick) * tick
        high, low = max(opened, close) + swing, max(tick, min(opened, close) - swing)
        volume = max(1, round(count * listing.quantity * 0.6 / step)) * step
        worth = volume * ((high + low) // 2) // ONE
        trade_id -= count
        minutes.append(Minute(start - age * MINUTE_MS, opened, high, low, close, volume, worth, trade_id, count))
        close = opened
    minutes.reverse()
    return minutes
