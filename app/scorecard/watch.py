"""Run detectors over a stream and write down when they were active.

They are asked once per second of event time, after all events up to that second: as often as the fastest slow
cycle asks them. The state of the book and of the tape is theirs to keep; they see events as an engine does.
"""

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

import msgspec

from app.microstructure.report import Anomaly, Severity
from app.scorecard.catalogue import DETECTORS, Detector
from app.scorecard.streams import MarketEvent

SAMPLE_NS: Final = 1_000_000_000
_RANK: Final[dict[Severity, int]] = {"low": 0, "medium": 1, "high": 2}


class Watcher(Protocol):
    """Detectors behind one interface: the product's engine, or a made-up one in a test."""

    def apply(self, event: MarketEvent) -> None:
        """Take the next event into account."""

    def anomalies(self, as_of: int) -> Sequence[Anomaly] | None:
        """Return what is active at `as_of` (ns), `None` while that is not known."""


class Sample(msgspec.Struct, frozen=True, gc=False):
    """A detector was active at event time `at` (ns)."""

    at: int
    severity: Severity


Samples = dict[Detector, list[Sample]]


def watch(events: Iterable[MarketEvent], watcher: Watcher) -> Samples:
    """Return when each detector was active, in order of time."""
    samples: Samples = {detector: [] for detector in DETECTORS}
    due: int | None = None
    for event in events:
        now = int(event.ts_event)
        if due is None:
            due = now // SAMPLE_NS * SAMPLE_NS + SAMPLE_NS
        while now > due:
            _ask(watcher, due, samples)
            due += SAMPLE_NS
        watcher.apply(event)
    return samples


def highest(severities: Iterable[Severity]) -> Severity:
    """Return the highest of some severities."""
    return max(severities, key=_RANK.__getitem__)


def _ask(watcher: Watcher, as_of: int, samples: Samples) -> None:
    active: dict[Detector, list[Severity]] = {}
    for anomaly in watcher.anomalies(as_of) or ():
        active.setdefault(anomaly.type, []).append(anomaly.severity)
    for detector, severities in active.items():
        samples[detector].append(Sample(as_of, highest(severities)))
