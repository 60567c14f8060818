"""Made-up detectors and markets for the scorecard's own tests."""

from collections.abc import Iterable, Sequence
from functools import cache

from app.microstructure.report import Anomaly, Severity
from app.scorecard.catalogue import DETECTORS
from app.scorecard.inject import Episode
from app.scorecard.streams import MarketEvent, Stream, simulated


@cache
def market(symbol: str = "SOLUSDT", *, seed: int = 1, rate: float = 30.0, seconds: float = 240.0) -> Stream:
    """Give a synthetic market; the same one again for the same arguments."""
    return simulated(symbol, seed=seed, rate=rate, seconds=seconds)


class Silent:
    """Never says anything."""

    def apply(self, event: MarketEvent) -> None:
        pass

    def anomalies(self, as_of: int) -> Sequence[Anomaly] | None:
        return ()


class AlwaysOn(Silent):
    """Sees everything everywhere."""

    def anomalies(self, as_of: int) -> Sequence[Anomaly]:
        return [Anomaly(detector, "high", "always") for detector in DETECTORS]


class Perfect(Silent):
    """Knows the truth: active while a pattern goes on, and as severe as it is."""

    def __init__(self, truth: Iterable[Episode]) -> None:
        self._patterns = [episode for episode in truth if episode.role == "pattern"]

    def anomalies(self, as_of: int) -> Sequence[Anomaly]:
        return [
            Anomaly(episode.detector, episode.strength, "told")
            for episode in self._patterns
            if episode.start <= as_of <= episode.end
        ]


class NotYet(Silent):
    """Does not know."""

    def anomalies(self, as_of: int) -> None:
        return None


SEVERITIES: tuple[Severity, ...] = ("low", "medium", "high")
