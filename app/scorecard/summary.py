"""Add up the outcomes of many trials.

precision = found / (found + false alarms) and recall = found / injected, in episodes. Intervals are Wilson's
for shares (E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927) and the
exact Poisson limit for rates (F. Garwood, "Fiducial limits for the Poisson distribution", 1936), at 95 %.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Final

import msgspec

from app.microstructure.report import Severity
from app.scorecard.catalogue import DETECTORS, Detector, Kind, kinds_for
from app.scorecard.inject import STRENGTHS
from app.scorecard.score import BACKGROUND, FalseAlarm, Outcome, Verdict

_Z: Final = 1.96
_TAIL: Final = 0.05


class Share(msgspec.Struct, frozen=True):
    """`hits` of `of`, with a 95 % interval; `value` is `None` of nothing."""

    hits: int
    of: int
    value: float | None
    low: float
    high: float


class Rate(msgspec.Struct, frozen=True):
    """Events in so many hours, a rate per hour, and its upper 95 % limit."""

    count: int
    hours: float
    per_hour: float | None
    at_most: float | None


class KindScore(msgspec.Struct, frozen=True):
    """One kind of episode: how often it was played, and how often its detector was active (fired)."""

    kind: str
    role: str
    what: str
    played: int
    fired: int


class SeverityScore(msgspec.Struct, frozen=True):
    """Of what was injected at a strength: how much was found. Of what was called this severe: how much was true."""

    severity: Severity
    recall: Share
    precision: Share
    called: dict[Severity, int]


class DetectorScore(msgspec.Struct, frozen=True):
    """One detector on one kind of market. Delays in seconds, `None` where nothing was found."""

    detector: Detector
    source: str
    precision: Share
    recall: Share
    delay_median: float | None
    delay_p90: float | None
    severities: list[SeverityScore]
    kinds: list[KindScore]
    false_alarms_by_context: dict[str, int]
    clean: Rate
    injected_background: Rate


class Scorecard(msgspec.Struct, frozen=True):
    """Everything that was measured."""

    seeds: list[int]
    trials: int
    hours: dict[str, float]
    scores: list[DetectorScore]


def scorecard(outcomes: Sequence[Outcome], seeds: Iterable[int]) -> Scorecard:
    """Return the scorecard of some trials."""
    sources = sorted({outcome.source for outcome in outcomes})
    return Scorecard(
        list(seeds),
        len(outcomes),
        {source: sum(o.seconds for o in outcomes if o.source == source) / 3600 for source in sources},
        [
            _detector_score(detector, source, [o for o in outcomes if o.source == source])
            for detector in DETECTORS
            for source in sources
        ],
    )


def share(hits: int, of: int) -> Share:
    """Return a share with Wilson's interval.

    >>> round(share(10, 10).low, 2)
    0.72
    """
    if not of:
        return Share(hits, of, None, 0.0, 1.0)
    p, z2 = hits / of, _Z * _Z
    centre = (p + z2 / (2 * of)) / (1 + z2 / of)
    margin = _Z * math.sqrt(p * (1 - p) / of + z2 / (4 * of * of)) / (1 + z2 / of)
    return Share(hits, of, p, max(0.0, centre - margin), min(1.0, centre + margin))


def rate(count: int, hours: float) -> Rate:
    """Return a rate with the one-sided upper limit of a Poisson count.

    >>> round(rate(0, 1.0).at_most, 2)
    3.0
    """
    if not hours:
        return Rate(count, hours, None, None)
    return Rate(count, hours, count / hours, _poisson_limit(count) / hours)


def _poisson_limit(count: int) -> float:
    """Return the mean at which `count` or fewer events have a chance of 5 %."""
    low, high = float(count), 2.0 * count + 10.0
    while high - low > 1e-9:
        mean = (low + high) / 2
        chance = math.fsum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(count + 1))
        low, high = (mean, high) if chance > _TAIL else (low, mean)
    return high


def _detector_score(detector: Detector, source: str, outcomes: Sequence[Outcome]) -> DetectorScore:
    verdicts = [v for o in outcomes for v in o.verdicts if v.episode.detector == detector]
    patterns = [v for v in verdicts if v.episode.role == "pattern"]
    found = [v for v in patterns if v.found]
    alarms = [a for o in outcomes for a in o.false_alarms if a.detector == detector]
    injected = [a for a in alarms if not a.clean]
    delays = sorted(v.delay for v in found if v.delay is not None)
    return DetectorScore(
        detector,
        source,
        share(len(found), len(found) + len(injected)),
        share(len(found), len(patterns)),
        median(delays) if delays else None,
        delays[math.ceil(0.9 * len(delays)) - 1] if delays else None,
        [_severity_score(severity, patterns, injected) for severity in STRENGTHS],
        [_kind_score(kind, verdicts, outcomes) for kind in kinds_for(detector)],
        dict(sorted(Counter(a.context for a in injected).items())),
        rate(sum(a.clean for a in alarms), _hours(detector, outcomes, clean=True)),
        rate(sum(a.context == BACKGROUND for a in injected), _hours(detector, outcomes, clean=False)),
    )


def _severity_score(severity: Severity, patterns: Sequence[Verdict], alarms: Sequence[FalseAlarm]) -> SeverityScore:
    injected = [v for v in patterns if v.episode.strength == severity]
    true = sum(v.severity == severity for v in patterns)
    false = sum(alarm.severity == severity for alarm in alarms)
    return SeverityScore(
        severity,
        share(sum(v.found for v in injected), len(injected)),
        share(true, true + false),
        {called: sum(v.severity == called for v in injected) for called in STRENGTHS},
    )


def _kind_score(kind: Kind, verdicts: Sequence[Verdict], outcomes: Sequence[Outcome]) -> KindScore:
    if kind.role == "look_alike":
        played = sum(e.kind == kind.name for o in outcomes for e in o.look_alikes)
        fired = sum(_fired(kind, outcome) for outcome in outcomes)
    else:
        of_kind = [v for v in verdicts if v.episode.kind == kind.name]
        played, fired = len(of_kind), sum(v.found for v in of_kind)
    return KindScore(kind.name, kind.role, kind.what, played, fired)


def _fired(kind: Kind, outcome: Outcome) -> int:
    """Return how many episodes of a look-alike had false alarms of the detector that it tries to deceive."""
    alarms = [a for a in outcome.false_alarms if a.detector == kind.detector and a.context == kind.name]
    starts = [e.start for e in outcome.look_alikes if e.kind == kind.name]
    return len({max((start for start in starts if start <= alarm.start), default=0) for alarm in alarms})


def _hours(detector: Detector, outcomes: Sequence[Outcome], *, clean: bool) -> float:
    return sum(o.exposure[detector] for o in outcomes if o.clean is clean) / 3600
