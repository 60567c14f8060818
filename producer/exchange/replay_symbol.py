"""One symbol of a replayed tape: ids and times moved to where the replay is, and the book that follows.

The rules, and why they are so, are in `replay`.
"""

from collections.abc import Container, Iterator
from typing import Final

from msgspec.structs import replace

from producer.exchange.book import Book, Depth, Side
from producer.exchange.feed import Feed
from producer.exchange.messages import BookTicker, DepthUpdate, Message, Ticker24h, Trade, encode
from producer.exchange.survey import TapeSymbol
from producer.exchange.tape import Recorded, levels_of
from producer.exchange.ticker import RollingTicker
from producer.exchange.units import to_units

_NS_PER_MS: Final = 1_000_000
_SLOW_BEAT_MS: Final = 1_000


class Timeline:
    """The straight line from tape time to the server's time."""

    def __init__(self, tape_ns: int, server_ns: int, speed: float) -> None:
        self._tape_ns = tape_ns
        self._server_ns = server_ns
        self._speed = speed

    def at(self, tape_ns: int) -> int:
        """Return the server's time (ns) that a tape time maps to."""
        return self._server_ns + int((tape_ns - self._tape_ns) / self._speed)


class SymbolReplay:
    """One symbol of a tape: moves what was recorded to where the replay is, and keeps the book."""

    def __init__(self, tape: TapeSymbol, *, keep_times: bool) -> None:
        self._tape = tape
        self._keep_times = keep_times
        first_update_id, self._opening = next(iter(tape.openings.items()))
        self._passes = 0
        self._update_shift = self._trade_shift = 0
        self._next_slow_ms = 0
        self.feed = Feed(tape.info, Book.from_depth(self._opening), RollingTicker())
        self.feed.slow.restart(first_update_id - 1)

    def play(
        self,
        payload: Recorded,
        timeline: Timeline,
        wanted: Container[str],
    ) -> Iterator[Message]:
        """Publish one recorded message and what follows from it."""
        match payload:
            case Trade():
                return self._play_trade(payload, timeline, wanted)
            case DepthUpdate():
                return self._play_update(payload, timeline, wanted)
            case BookTicker():
                return self._play_book_ticker(payload, wanted)
            case Ticker24h():
                return self._play_ticker(payload, timeline, wanted)

    def rewind(self, timeline: Timeline, end_ns: int, wanted: Container[str]) -> Iterator[Message]:
        """Close a pass that ended at tape time `end_ns`: the book jumps back, ids go on from here."""
        feed, opening = self.feed, Book.from_depth(self._opening)
        event_ms = timeline.at(end_ns) // _NS_PER_MS
        self._passes += 1
        self._update_shift += self._tape.last_update_id - self._opening.last_update_id + 1
        if self._tape.first_trade_id is not None:
            self._trade_shift += self._tape.last_trade_id - self._tape.first_trade_id + 1
        feed.fast.restart(feed.book.last_update_id)
        for side in Side:
            now, then = feed.book.side(side), opening.side(side)
            for price in {*now.prices(), *then.prices()}:
                if now.quantity(price) != then.quantity(price):
                    self._put(side, price, then.quantity(price))
                    feed.fast.touch(side, price)
        feed.book.last_update_id = opening.last_update_id + self._update_shift
        yield from feed.book_ticker(wanted)
        # Published even where nothing differs: ids must not jump.
        yield from feed.fast_diff(event_ms, wanted)

    def _play_trade(self, recorded: Trade, timeline: Timeline, wanted: Container[str]) -> Iterator[Message]:
        trade = replace(
            recorded,
            trade_id=recorded.trade_id + self._trade_shift,
            trade_time=self._moved(recorded.trade_time, timeline),
            event_time=self._moved(recorded.event_time, timeline),
        )
        return self.feed.trade(trade, to_units(trade.price), to_units(trade.quantity), wanted)

    def _play_update(self, recorded: DepthUpdate, timeline: Timeline, wanted: Container[str]) -> Iterator[Message]:
        if self._in_jump(recorded.final_update_id):
            return
        feed, update = self.feed, self._shifted(recorded, timeline)
        if update.first_update_id > feed.book.last_update_id + 1:
            self._reopen(self._tape.openings[recorded.first_update_id], update.first_update_id)
        best = feed.book.best()
        self._apply(update)
        if not self._tape.has_book_ticker and feed.book.best() != best:
            yield from feed.book_ticker(wanted)
        if feed.names.diff_fast[0] in wanted:
            yield Message(feed.names.diff_fast[0], encode(update))
        yield from feed.partial_fast(wanted)
        if update.event_time >= self._next_slow_ms:
            self._next_slow_ms = update.event_time - update.event_time % _SLOW_BEAT_MS + _SLOW_BEAT_MS
            yield from feed.slow_beat(update.event_time, wanted)
            if not self._tape.has_ticker:
                yield from feed.ticker_24h(update.event_time, wanted)

    def _play_book_ticker(self, recorded: BookTicker, wanted: Container[str]) -> Iterator[Message]:
        name = self.feed.names.book_ticker
        if name in wanted and not self._in_jump(recorded.update_id):
            ticker = replace(recorded, update_id=recorded.update_id + self._update_shift)
            yield Message(name, encode(ticker))

    def _play_ticker(self, recorded: Ticker24h, timeline: Timeline, wanted: Container[str]) -> Iterator[Message]:
        name = self.feed.names.ticker
        if name in wanted:
            moved_ms = self._moved(recorded.event_time, timeline) - recorded.event_time
            ticker = replace(
                recorded,
                event_time=recorded.event_time + moved_ms,
                open_time=recorded.open_time + moved_ms,
                close_time=recorded.close_time + moved_ms,
                first_trade_id=recorded.first_trade_id + self._trade_shift,
                last_trade_id=recorded.last_trade_id + self._trade_shift,
            )
            yield Message(name, encode(ticker))

    def _shifted(self, recorded: DepthUpdate, timeline: Timeline) -> DepthUpdate:
        first_update_id = recorded.first_update_id + self._update_shift
        if self._in_jump(recorded.first_update_id):
            first_update_id = self.feed.book.last_update_id + 1
        return replace(
            recorded,
            event_time=self._moved(recorded.event_time, timeline),
            first_update_id=first_update_id,
            final_update_id=recorded.final_update_id + self._update_shift,
        )

    def _in_jump(self, recorded_id: int) -> bool:
        # A later pass opens with the jump, which stands for everything up to the tape's first snapshot.
        return self._passes > 0 and recorded_id <= self._opening.last_update_id

    def _moved(self, event_ms: int, timeline: Timeline) -> int:
        if self._keep_times:
            return event_ms
        return timeline.at(event_ms * _NS_PER_MS - self._tape.clock_lead_ns) // _NS_PER_MS

    def _apply(self, update: DepthUpdate) -> None:
        # What the book contains already is only noted, so that the slower stream covers it as well.
        known = update.final_update_id <= self.feed.book.last_update_id
        for side, levels in ((Side.BID, update.bids), (Side.ASK, update.asks)):
            for price, quantity in levels_of(levels):
                if known:
                    self.feed.slow.touch(side, price)
                else:
                    self._put(side, price, quantity)
        if not known:
            self.feed.book.last_update_id = update.final_update_id

    def _put(self, side: Side, price: int, quantity: int) -> None:
        self.feed.book.put(side, price, quantity)
        self.feed.slow.touch(side, price)

    def _reopen(self, opening: Depth, first_update_id: int) -> None:
        # The recording has a gap here, and so have the streams: nobody can know what happened in it.
        self.feed.book = Book.from_depth(opening)
        self.feed.book.last_update_id += self._update_shift
        self.feed.slow.restart(first_update_id - 1)
