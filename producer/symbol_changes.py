"""Which symbols are subscribed to, from the start and after each change of SYMBOLS.

SIGHUP asks for the list anew: what is new is subscribed to, what is gone is unsubscribed from and its book said to
be unknown; all others are left as they are. Symbols that the exchange does not know, or that do not trade, are left
out by name and asked about again every few minutes: a pause of trading ends, and news of a listing come early.
A list of which no symbol is known changes nothing; it is more likely a mistake than a wish.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

from nautilus_trader.model.identifiers import InstrumentId

from producer.metrics import Metrics
from producer.symbols import listed_symbols
from producer.wire import VENUE

AGAIN_SEC: Final = 300.0
_LOOK: Final = 0.05

log = logging.getLogger(__name__)

Wanted = Callable[[], Sequence[str]]
"""Gives the list as it is now.

Raises:
    ValueError: it is not allowed; one line.
"""


class Subscriber(Protocol):
    """Who subscribes."""

    def add(self, instrument_ids: Sequence[InstrumentId]) -> None:
        """Subscribe to more."""

    def remove(self, instrument_ids: Sequence[InstrumentId]) -> None:
        """Unsubscribe."""

    @property
    def is_running(self) -> bool:
        """Whether it has subscribed to what it began with."""


class Expected(Protocol):
    """Who notices when a symbol falls silent."""

    def expect(self, symbols: Iterable[str]) -> None:
        """Events of these symbols should come."""

    def forget(self, symbols: Iterable[str]) -> None:
        """Events of these symbols should not come any more."""


class SymbolChanges:
    """The symbols of one producer. `market` is NautilusTrader's `BinanceSpotMarketHttpAPI`."""

    def __init__(self, market: Any, wanted: Wanted, arrivals: Expected, metrics: Metrics) -> None:
        self.symbols: list[str] = []
        self.refused: dict[str, str] = {}
        self._market = market
        self._wanted = wanted
        self._arrivals = arrivals
        self._metrics = metrics
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Take the list over as soon as may be; for a signal handler."""
        self._asked.set()

    async def begin(self, wanted: Sequence[str]) -> list[str]:
        """Return those of `wanted` to begin with; empty if none can be subscribed to."""
        listed = await listed_symbols(self._market, wanted, self._metrics)
        self.symbols, self.refused = listed.symbols, listed.refused
        self._arrivals.expect(self.symbols)
        return self.symbols

    async def follow(self, subscriber: Subscriber) -> None:
        """Take changes over, for ever, once `subscriber` runs."""
        while not subscriber.is_running:  # noqa: ASYNC110  (it has no event to wait for)
            await asyncio.sleep(_LOOK)
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), AGAIN_SEC if self.refused else None)
            try:
                if self._asked.is_set():
                    self._asked.clear()
                    await self._take_over(self._wanted(), subscriber)
                else:
                    await self._take_over([*self.symbols, *self.refused], subscriber)
            except ValueError as error:
                log.error("SYMBOLS not taken over, going on as before: %s", error)
            except Exception as error:
                self._metrics.error("symbols", error)
                log.exception("SYMBOLS not taken over")

    async def _take_over(self, wanted: Sequence[str], subscriber: Subscriber) -> None:
        listed = await listed_symbols(self._market, wanted, self._metrics)
        if not listed.symbols:
            log.error("SYMBOLS not taken over, going on as before: none of %s can be subscribed to", ",".join(wanted))
            return
        added = [symbol for symbol in listed.symbols if symbol not in self.symbols]
        removed = [symbol for symbol in self.symbols if symbol not in listed.symbols]
        self.symbols, self.refused = listed.symbols, listed.refused
        subscriber.remove(_ids(removed))
        self._arrivals.forget(removed)
        self._arrivals.expect(added)
        subscriber.add(_ids(added))
        log.info("SYMBOLS taken over: added %s; removed %s", _names(added), _names(removed))


def _ids(symbols: Iterable[str]) -> list[InstrumentId]:
    return [InstrumentId.from_str(f"{symbol}.{VENUE}") for symbol in symbols]


def _names(symbols: Sequence[str]) -> str:
    return ", ".join(symbols) or "none"
