"""Time series that are labelled with a symbol, and how many of them there may be.

Prometheus keeps a series for every label value that it ever saw, and the client library shows each one until it is
told not to. Symbols come and go: partitions move to other workers, markets are delisted. So whoever counts by symbol
takes its series from a `SymbolSeries`, which can forget a symbol in all of its metrics, and which gives only so many
symbols a series of their own. What comes beyond shares one, `symbol="other"`, which is no symbol: theirs are upper
case. So names that somebody makes up can fill neither this process nor Prometheus.

Kept here too because finding a labelled series in the client library takes longer than counting with it.
"""

from collections.abc import Collection
from typing import Final

from prometheus_client.metrics import MetricWrapperBase

OTHER: Final = "other"
MOST_SYMBOLS: Final = 1000


class SymbolSeries:
    """Series of several metrics whose first label is a symbol, for at most `limit` symbols."""

    def __init__(self, limit: int = MOST_SYMBOLS) -> None:
        self._limit = limit
        self._series: dict[str, dict[tuple[MetricWrapperBase, tuple[str, ...]], MetricWrapperBase]] = {}

    def __contains__(self, symbol: str) -> bool:
        """Whether the symbol has series of its own."""
        return symbol in self._series

    def admits(self, symbol: str) -> bool:
        """Whether the symbol has series of its own or could have; `OTHER` never, it is no symbol."""
        return symbol in self._series or (len(self._series) < self._limit and symbol != OTHER)

    def of[Metric: MetricWrapperBase](self, metric: Metric, symbol: str, *labels: str) -> Metric:
        """Return the series of `metric` for `symbol` and the other labels; it is made when there is none."""
        series = self._series.get(symbol)
        if series is None:
            if not self.admits(symbol):
                return metric.labels(OTHER, *labels)
            series = self._series[symbol] = {}
        found = series.get((metric, labels))
        if found is None:
            found = series[metric, labels] = metric.labels(symbol, *labels)
        return found  # type: ignore[return-value]  # the key holds the metric whose series it is

    def forget(self, symbol: str) -> None:
        """Show nothing of the symbol any more; should it come back, it begins anew."""
        for metric, labels in self._series.pop(symbol, {}):
            metric.remove(symbol, *labels)

    def keep(self, symbols: Collection[str]) -> None:
        """Forget all symbols but these."""
        for symbol in [each for each in self._series if each not in symbols]:
            self.forget(symbol)
