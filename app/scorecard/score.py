"""Compare what detectors said with the truth.

An injected pattern is *found* if its detector is active at some moment from its start to its end plus a grace
time, since detectors look back over a window. Every stretch of activity outside these times is a *false
alarm*, also one that merely goes on for too long; stretches at most `MERGE_NS` apart are one. So a detector
that is always active finds everything and pays with a false alarm before, between and after all patterns.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from app.microstructure.report import Severity
from app.scorecard.catalogue import DETECTORS, Detector
from app.scorecard.inject import Episode
from app.scorecard.watch import SAMPLE_NS, Sample, Samples, highest

MERGE_NS: Final = 10_000_000_000
BACKGROUND: Final = "background"

Span = tuple[int, int]


class Trial(msgspec.Struct, frozen=True):
    """One stream with its truth, and what the detectors said. Times in ns; `clean` streams have no episodes."""

    source: str
    clean: bool
    start: int
    end: int
    episodes: list[Episode]
    spoiled: list[Span]
    samples: Samples


class Verdict(msgspec.Struct, frozen=True):
    """Whether a pattern or probe was found, how severe it was called, and after how many seconds."""

    source: str
    episode: Episode
    severity: Severity | None
    delay: float | None

    @property
    def found(self) -> bool:
        """Whether the detector was active."""
        return self.severity is not None


class FalseAlarm(msgspec.Struct, frozen=True):
    """A stretch of activity without cause. `context` is the kind of episode that went on, or `background`."""

    source: str
    clean: bool
    detector: Detector
    severity: Severity
    context: str
    start: int
    seconds: float


class Outcome(msgspec.Struct, frozen=True):
    """What came of one trial. `exposure` is the time, in seconds, in which each detector had to be silent."""

    source: str
    clean: bool
    seconds: float
    verdicts: list[Verdict]
    false_alarms: list[FalseAlarm]
    look_alikes: list[Episode]
    exposure: dict[Detector, float]


def judge(trial: Trial, grace: dict[Detector, float]) -> Outcome:
    """Return what came of a trial; `grace` in seconds."""
    verdicts = [
        _verdict(trial, episode, _tail(episode.detector, grace))
        for episode in trial.episodes
        if episode.role != "look_alike"
    ]
    false_alarms: list[FalseAlarm] = []
    exposure: dict[Detector, float] = {}
    for detector in DETECTORS:
        tail = _tail(detector, grace)
        excused = _excused(trial, detector, tail)
        false_alarms += _false_alarms(trial, detector, excused, tail)
        exposure[detector] = (trial.end - trial.start - sum(end - start for start, end in excused)) / 1e9
    look_alikes = [episode for episode in trial.episodes if episode.role == "look_alike"]
    return Outcome(
        trial.source,
        trial.clean,
        (trial.end - trial.start) / 1e9,
        verdicts,
        false_alarms,
        look_alikes,
        exposure,
    )


def _tail(detector: Detector, grace: dict[Detector, float]) -> int:
    return int(grace[detector] * 1e9)


def _verdict(trial: Trial, episode: Episode, tail: int) -> Verdict:
    seen = [sample for sample in trial.samples[episode.detector] if episode.start <= sample.at <= episode.end + tail]
    if not seen:
        return Verdict(trial.source, episode, None, None)
    delay = (seen[0].at - episode.start) / 1e9
    return Verdict(trial.source, episode, highest(sample.severity for sample in seen), delay)


def _excused(trial: Trial, detector: Detector, tail: int) -> list[Span]:
    """Return when the detector may be active: in its patterns, its probes and what was spoiled; disjoint, in order."""
    spans = [(e.start, e.end) for e in trial.episodes if e.detector == detector and e.role != "look_alike"]
    merged: list[Span] = []
    for start, end in sorted(spans + trial.spoiled):
        until = min(end + tail, trial.end)
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(until, merged[-1][1]))
        else:
            merged.append((start, until))
    return merged


def _false_alarms(trial: Trial, detector: Detector, excused: Sequence[Span], tail: int) -> Iterator[FalseAlarm]:
    stretch: list[Sample] = []
    at = 0
    for sample in trial.samples[detector]:
        while at < len(excused) and excused[at][1] < sample.at:
            at += 1
            yield from _closed(trial, detector, stretch, tail)
            stretch = []
        if at < len(excused) and excused[at][0] <= sample.at:
            continue
        if stretch and sample.at - stretch[-1].at > MERGE_NS:
            yield from _closed(trial, detector, stretch, tail)
            stretch = []
        stretch.append(sample)
    yield from _closed(trial, detector, stretch, tail)


def _closed(trial: Trial, detector: Detector, stretch: Sequence[Sample], tail: int) -> Iterator[FalseAlarm]:
    if stretch:
        start = stretch[0].at
        yield FalseAlarm(
            trial.source,
            trial.clean,
            detector,
            highest(sample.severity for sample in stretch),
            _context(trial.episodes, start, tail),
            start,
            (stretch[-1].at - start + SAMPLE_NS) / 1e9,
        )


def _context(episodes: Sequence[Episode], at: int, tail: int) -> str:
    """Return the kind of the episode that goes on at a time or was the last to end, within the grace time."""
    before = [episode for episode in episodes if episode.start <= at <= episode.end + tail]
    return before[-1].kind if before else BACKGROUND
