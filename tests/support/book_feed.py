"""A market by hand: levels are set, trades happen, time goes on; whoever listens gets what an engine would hand on."""

from collections.abc import Callable
from typing import Literal

from app.microstructure.book import BookChange, OrderBook
from app.microstructure.events import Side, TradeTick
from support.markets import SECOND, START, Levels, deltas, snapshot, trade

Observation = TradeTick | BookChange
BookSide = Literal["bid", "ask"]


class BookFeed:
    """Bids from 99.99 down and asks from 100.01 up, ten levels of quantity 1 a side; one tick of 0.01 is 1 bps."""

    def __init__(self) -> None:
        self.observations: list[Observation] = []
        self.now = START
        self._listeners: list[Callable[[Observation], None]] = []
        self._book = OrderBook()
        self._update_id = 1000
        self._trade_id = 0
        self._levels: dict[BookSide, dict[float, float]] = {"bid": {}, "ask": {}}

    def listen(self, listener: Callable[[Observation], None]) -> None:
        """Hand on everything from now on to one more listener, beginning with a snapshot."""
        self._listeners.append(listener)
        self.restart()

    def restart(self, bids: Levels = (), asks: Levels = ()) -> None:
        """Replace the book by the usual levels and these."""
        usual_bids = [(round(100 - n / 100, 2), 1.0) for n in range(1, 11)]
        usual_asks = [(round(100 + n / 100, 2), 1.0) for n in range(1, 11)]
        self._update_id += 1
        event = snapshot(self._update_id, [*usual_bids, *bids], [*usual_asks, *asks], at=self.now)
        self._hand_on(self._book.apply_deltas(event.payload, self.now))

    def lose(self) -> None:
        """Give the book up: a gap in the deltas."""
        self._update_id += 5
        self._hand_on(self._book.apply_deltas(deltas(self._update_id, self._update_id).payload, self.now))

    def later(self, seconds: float) -> "BookFeed":
        """Let time go on."""
        self.now += round(seconds * SECOND)
        return self

    def set(self, bids: Levels = (), asks: Levels = ()) -> None:
        """Let one book event change these levels, by nothing at all if there are none."""
        self._update_id += 1
        event = deltas(self._update_id, self._update_id, bids, asks, at=self.now)
        self._hand_on(self._book.apply_deltas(event.payload, self.now))

    def trade(self, price: float, qty: float, aggressor: Side = "sell", *, ago: float = 0.0) -> None:
        """Let a trade arrive that happened `ago` seconds before now."""
        self._trade_id += 1
        self._hand_on(trade(self._trade_id, price, qty, aggressor, at=self.now - round(ago * SECOND)))

    def visible(self, side: BookSide, price: float) -> float:
        """Return the quantity of a level."""
        return self._levels[side].get(price, 0.0)

    def _hand_on(self, observation: Observation | None) -> None:
        assert observation is not None
        if isinstance(observation, BookChange):
            self._follow(observation)
        self.observations.append(observation)
        for listener in self._listeners:
            listener(observation)

    def _follow(self, change: BookChange) -> None:
        if change.restarted or not change.known:
            self._levels = {"bid": {}, "ask": {}}
        self._levels["bid"].update((price, after) for price, _, after in change.bids)
        self._levels["ask"].update((price, after) for price, _, after in change.asks)
