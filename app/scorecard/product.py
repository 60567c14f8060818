"""The detectors as they are in the product: behind the engine that also makes the reports."""

from collections.abc import Sequence

from app.microstructure.engine import EngineParams, SymbolEngine
from app.microstructure.report import Anomaly
from app.scorecard.streams import MarketEvent


class EngineWatcher:
    """A fresh engine; what it finds is what a slow cycle would put into the report."""

    def __init__(self, symbol: str) -> None:
        self._engine = SymbolEngine(symbol, EngineParams())
        self._offset = 0

    def apply(self, event: MarketEvent) -> None:
        """Hand the next event to the engine."""
        self._engine.apply(event, self._offset)
        self._offset += 1

    def anomalies(self, as_of: int) -> Sequence[Anomaly] | None:
        """Return the anomalies of a slow cycle at `as_of` (ns)."""
        return self._engine.slow_sections(as_of).anomalies


def make_watcher(symbol: str) -> EngineWatcher:
    """Return fresh detectors for a symbol."""
    return EngineWatcher(symbol)
