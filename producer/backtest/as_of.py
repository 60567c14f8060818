"""Events in order of event time become reports at regular as-of times.

As-of times are the whole multiples of a step since the Unix epoch. A symbol's first report is the one at or
after its first event; its last is at or before the newest event of the recording, since beyond that nobody
knows what would have come. In between there is one at every as-of time, also where nothing happened.

What live depends on the writer is fixed: writer `backtest` with epoch 1, partition 0, offsets that count the
symbol's events from 0, and a wall clock that shows the as-of time.
"""

from collections.abc import Callable
from typing import Final

from app.microstructure.engine import EngineParams, SymbolEngine
from app.microstructure.events import Event
from app.microstructure.report import Report, Stamp

NODE_ID: Final = "backtest"


class AsOfReports:
    """Applies events and hands reports to `write`, ordered by as-of time and symbol.

    Attributes:
        events: how many were applied.
        counts: how many reports each symbol got, in order of the symbols' names.
    """

    def __init__(self, every_ns: int, params: EngineParams, write: Callable[[Report], None]) -> None:
        self.events = 0
        self.counts: dict[str, int] = {}
        self._every_ns = every_ns
        self._params = params
        self._write = write
        self._engines: dict[str, SymbolEngine] = {}
        self._newest = 0
        self._due: int | None = None

    def apply(self, order_time: int, event: Event) -> None:
        """Take the next event; `order_time` is that of `producer.backtest.order` and never falls."""
        if self._due is None:
            self._due = -(-order_time // self._every_ns) * self._every_ns
        self._report_until(order_time - 1)
        self._newest = order_time
        engine = self._engines.get(event.symbol)
        if engine is None:
            engine = self._add(event.symbol)
        engine.apply(event, engine.offset + 1)
        self.events += 1

    def finish(self) -> None:
        """Write the reports that are still due; no event is to come."""
        self._report_until(self._newest)

    def _add(self, symbol: str) -> SymbolEngine:
        self._engines[symbol] = SymbolEngine(symbol, self._params)
        self._engines = dict(sorted(self._engines.items()))
        self.counts = {name: self.counts.get(name, 0) for name in self._engines}
        return self._engines[symbol]

    def _report_until(self, order_time: int) -> None:
        while self._due is not None and self._due <= order_time:
            stamp = Stamp(NODE_ID, writer_token=1, partition=0, wall_ns=self._due)
            for symbol, engine in self._engines.items():
                self._write(engine.report(self._due, stamp))
                self.counts[symbol] += 1
            self._due += self._every_ns
