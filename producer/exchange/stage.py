"""A market in which scenarios are played: the scorecard's scripts and venue, fed by a running market.

For a symbol with scenarios the base market's trades and diffs go through a `Venue`, where the scripts act, and
what the venue makes of them is published by a feed of its own: trades, diffs under the base market's update ids,
and best bid and ask, top levels and 24 h ticker that follow from these. REST answers come from the same book, so
every check of a client holds in the midst of a crash. Other symbols are passed on as they are.

A symbol plays one scenario at a time; what is planned for meanwhile begins after it. Where the market does not
let one come about (it walks away from an iceberg), it is tried again.
"""

import copy
import random
from collections import deque
from collections.abc import Container, Iterator, Sequence
from typing import Final

import msgspec

from app.microstructure.events import (
    DeltasPayload,
    Level,
    Nanos,
    OrderBookDeltas,
    TradePayload,
    TradeTick,
)
from app.microstructure.events import Side as Aggressor
from app.scorecard.scripts import Script
from app.scorecard.streams import MarketEvent, Stream
from app.scorecard.venue import Venue
from producer.exchange.book import Book, Depth, Side
from producer.exchange.feed import Feed
from producer.exchange.messages import DepthSnapshot, DepthUpdate, Message, TextLevel, Trade
from producer.exchange.scenario import STRENGTH, Planned, Tell, truth_of
from producer.exchange.sim import SimMarket
from producer.exchange.symbols import SymbolInfo
from producer.exchange.units import ONE, to_text

_VENUE: Final = "BINANCE"
_NS_PER_MS: Final = 1_000_000
_SLOW_BEAT_MS: Final = 1_000
_WHOLE_BOOK: Final = 5_000
_TRIES: Final = 20

_decode_trade: Final = msgspec.json.Decoder(Trade).decode
_decode_update: Final = msgspec.json.Decoder(DepthUpdate).decode


class Actors:
    """Plays the scenarios of one symbol, one after the other, on its venue."""

    def __init__(self, planned: Sequence[Planned], start_ns: int, seed: int, tell: Tell) -> None:
        self._waiting = deque(sorted(planned, key=lambda plan: plan.after_sec))
        self._start_ns = start_ns
        self._seed = seed
        self._tell = tell
        self._playing: tuple[Planned, str, Script] | None = None
        self._begun = self._tries = self._first_start = 0

    def act(self, venue: Venue) -> None:
        """Do what is due before the venue's next diff."""
        if self._playing is None:
            if not self._waiting or venue.now < self._start_ns + self._waiting[0].after_sec * 1_000_000_000:
                return
            self._tries, self._first_start = 0, venue.now
            self._begin(self._waiting.popleft(), venue)
        if self._playing is not None:
            try:
                next(self._playing[2])
            except StopIteration as finished:
                self._finish(venue, came_about=finished.value)

    def cut_off(self, venue: Venue) -> None:
        """Tell of what is being played when the market ends."""
        if self._playing is not None:
            self._tries = _TRIES
            self._finish(venue, came_about=False)

    def _begin(self, planned: Planned, venue: Venue) -> None:
        self._tries += 1
        self._begun += 1
        seed = f"{self._seed}:{planned.symbol}:{self._begun}"
        script = planned.kind.write(venue, random.Random(seed), STRENGTH)
        self._playing = planned, seed, script

    def _finish(self, venue: Venue, *, came_about: bool) -> None:
        if self._playing is None:
            return
        planned, seed, _ = self._playing
        self._playing = None
        if came_about or self._tries >= _TRIES:
            self._tell(truth_of(planned, seed, self._first_start, venue.now, came_about=came_about))
        else:
            self._begin(planned, venue)


class Stage:
    """One symbol: the base market's messages in, those of the joint market out."""

    def __init__(self, base: Feed, actors: Actors, start_ns: int) -> None:
        """Begin with a copy of the base market's book and 24 h statistics."""
        self._feed = copy.deepcopy(base)
        self._actors = actors
        self._venue = Venue(_opening(self._feed, start_ns))
        self._next_slow_ms = 0
        self.streams = {self._feed.names.trade, *self._feed.names.diff_fast}

    @property
    def book(self) -> Book:
        """The joint market's book."""
        return self._feed.book

    def cut_off(self) -> None:
        """End what is being played."""
        self._actors.cut_off(self._venue)

    def take(self, message: Message, wanted: Container[str]) -> Iterator[Message]:
        """Yield what becomes of a message of the base market."""
        if message.stream == self._feed.names.trade:
            yield from self._publish(self._venue.on_trade(_trade_event(_decode_trade(message.payload))), wanted)
            return
        update = _decode_update(message.payload)
        self._venue.now = update.event_time * _NS_PER_MS
        self._actors.act(self._venue)
        for event in self._venue.on_diff(_diff_event(update)):
            yield from self._publish(event, wanted)

    def _publish(self, event: MarketEvent, wanted: Container[str]) -> Iterator[Message]:
        event_ms = int(event.ts_event) // _NS_PER_MS
        if isinstance(event, TradeTick):
            yield from self._trade(event.payload, event_ms, wanted)
        else:
            yield from self._diff(event.payload, event_ms, wanted)

    def _trade(self, payload: TradePayload, event_ms: int, wanted: Container[str]) -> Iterator[Message]:
        price, quantity = _units(payload.price), _units(payload.qty)
        trade = Trade(
            event_time=event_ms,
            symbol=self._feed.info.symbol,
            trade_id=payload.trade_id,
            price=to_text(price),
            quantity=to_text(quantity),
            trade_time=event_ms,
            buyer_is_maker=payload.aggressor_side == "sell",
        )
        return self._feed.trade(trade, price, quantity, wanted)

    def _diff(self, payload: DeltasPayload, event_ms: int, wanted: Container[str]) -> Iterator[Message]:
        feed = self._feed
        best = feed.book.best()
        for side, levels in ((Side.BID, payload.bids), (Side.ASK, payload.asks)):
            for price, qty in levels:
                feed.book.put(side, _units(price), _units(qty))
                feed.fast.touch(side, _units(price))
                feed.slow.touch(side, _units(price))
        feed.book.last_update_id = payload.final_update_id
        if feed.book.best() != best:
            yield from feed.book_ticker(wanted)
        yield from feed.fast_beat(event_ms, wanted)
        if event_ms >= self._next_slow_ms:
            self._next_slow_ms = event_ms - event_ms % _SLOW_BEAT_MS + _SLOW_BEAT_MS
            yield from feed.slow_beat(event_ms, wanted)
            yield from feed.ticker_24h(event_ms, wanted)


class _BaseStreams:
    """What the base market is asked for: the sources of the stages, and what is wanted of the other symbols."""

    def __init__(self, wanted: Container[str], stages: dict[str, Stage]) -> None:
        self._wanted = wanted
        self._stages = stages

    def __contains__(self, stream: object) -> bool:
        stage = self._stages.get(_symbol_of(str(stream)))
        return stream in self._wanted if stage is None else stream in stage.streams


class ScenarioMarket:
    """A synthetic market with scenarios in it. A `Market`."""

    def __init__(self, market: SimMarket, planned: Sequence[Planned], *, seed: int, start_ns: int, tell: Tell) -> None:
        """Play `planned`, each so long after `start_ns`; `tell` gets the truth of each when it is over."""
        self._market = market
        self._stages: dict[str, Stage] = {}
        for symbol in dict.fromkeys(plan.symbol for plan in planned):
            actors = Actors([plan for plan in planned if plan.symbol == symbol], start_ns, seed, tell)
            self._stages[symbol] = Stage(market.feed(symbol), actors, start_ns)

    def symbols(self) -> Sequence[str]:
        """Return the symbols, in the order given."""
        return self._market.symbols()

    def info(self, symbol: str) -> SymbolInfo:
        """Return a symbol's rules."""
        return self._market.info(symbol)

    def depth(self, symbol: str, limit: int) -> Depth:
        """Return a symbol's book as of what was published."""
        stage = self._stages.get(symbol)
        return self._market.depth(symbol, limit) if stage is None else stage.book.depth(limit)

    def subscribed(self, now_ns: int) -> None:
        """Hand it on."""
        self._market.subscribed(now_ns)

    def advance(self, now_ns: int, wanted: Container[str]) -> Iterator[Message]:
        """Trade until `now_ns`, and play what is due."""
        for message in self._market.advance(now_ns, _BaseStreams(wanted, self._stages)):
            stage = self._stages.get(_symbol_of(message.stream))
            if stage is None:
                yield message
            else:
                yield from stage.take(message, wanted)

    def close(self) -> None:
        """End the scenarios that are being played, and tell of them."""
        for stage in self._stages.values():
            stage.cut_off()


def _symbol_of(stream: str) -> str:
    return stream.partition("@")[0].upper()


def _opening(feed: Feed, start_ns: int) -> Stream:
    """Return what a venue wants to begin with: the book, and the number that the first trade follows."""
    info, snapshot = feed.info, DepthSnapshot.of(feed.book.depth(_WHOLE_BOOK))
    update_id = snapshot.last_update_id
    book = DeltasPayload(update_id, update_id, True, _levels(snapshot.bids), _levels(snapshot.asks))
    first = TradePayload(1.0, 1.0, "buy", feed.ticker.last_trade_id + 1)
    events: list[MarketEvent] = [
        OrderBookDeltas(symbol=info.symbol, venue=_VENUE, ts_event=Nanos(start_ns), payload=book),
        TradeTick(symbol=info.symbol, venue=_VENUE, ts_event=Nanos(start_ns), payload=first),
    ]
    return Stream(info.symbol, info.tick / ONE, info.step / ONE, events)


def _trade_event(trade: Trade) -> TradeTick:
    side: Aggressor = "sell" if trade.buyer_is_maker else "buy"
    payload = TradePayload(float(trade.price), float(trade.quantity), side, trade.trade_id)
    ts_event = Nanos(trade.trade_time * _NS_PER_MS)
    return TradeTick(symbol=trade.symbol, venue=_VENUE, ts_event=ts_event, payload=payload)


def _diff_event(update: DepthUpdate) -> OrderBookDeltas:
    payload = DeltasPayload(
        update.first_update_id, update.final_update_id, False, _levels(update.bids), _levels(update.asks)
    )
    ts_event = Nanos(update.event_time * _NS_PER_MS)
    return OrderBookDeltas(symbol=update.symbol, venue=_VENUE, ts_event=ts_event, payload=payload)


def _levels(levels: list[TextLevel]) -> list[Level]:
    return [(float(price), float(qty)) for price, qty in levels]


def _units(number: float) -> int:
    return round(number * ONE)
