"""The trials of a scorecard: which markets, which seeds, which episodes in them.

Each seed gives one synthetic market. It is watched once as it is, and once for each detector with that
detector's patterns and look-alikes in it; so is the tape, except that it is watched as it is only once. All
three detectors watch every trial, so an alarm for the wrong reason is a false alarm too.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

import msgspec

from app.scorecard.catalogue import DETECTORS, Detector, kinds_for
from app.scorecard.inject import Injection, Pace
from app.scorecard.score import Outcome, Trial, judge
from app.scorecard.streams import Stream, recorded, simulated
from app.scorecard.watch import Watcher, watch

TUNING_SEEDS: Final = range(40)
SCORING_SEEDS: Final = range(1000, 1060)

# How long after a pattern's end its detector may still speak of it: the window it looks back over, and the time
# that a finding is held.
GRACE_SEC: Final[dict[Detector, float]] = {"spoofing": 55.0, "iceberg": 35.0, "flash_crash_risk": 20.0}
_WARM_UP_SEC: Final = 75.0  # the detectors want a minute to learn what is usual
_FORGET_SEC: Final = 5.0
_SYMBOLS: Final = ("BTCUSDT", "SOLUSDT", "DOGEUSDT")
_RATES: Final = (8.0, 16.0, 30.0)

MakeWatcher = Callable[[str], Watcher]
"""Gives fresh detectors for a symbol."""


class SimJob(msgspec.Struct, frozen=True):
    """The trials of one seed on a synthetic market of its own."""

    seed: int
    seconds: float


class TapeJob(msgspec.Struct, frozen=True):
    """The trials of one seed on a tape; without a seed, the tape as it is."""

    tape: tuple[Path, ...]
    seed: int | None


Job = SimJob | TapeJob


def jobs(seeds: Sequence[int], tape: Sequence[Path], seconds: float) -> list[Job]:
    """Return the jobs of a scorecard; each synthetic market is `seconds` long."""
    on_tape = [TapeJob(tuple(tape), seed) for seed in (None, *seeds)] if tape else []
    return [*on_tape, *(SimJob(seed, seconds) for seed in seeds)]


def run(job: Job, make_watcher: MakeWatcher) -> list[Outcome]:
    """Return the outcomes of a job's trials."""
    return [judge(trial, GRACE_SEC) for trial in _trials(job, make_watcher)]


def _trials(job: Job, make_watcher: MakeWatcher) -> Iterator[Trial]:
    if isinstance(job, SimJob):
        stream = _market(job)
        yield _clean("sim", stream, make_watcher)
        yield from _injected("sim", stream, job.seed, make_watcher)
    elif job.seed is None:
        yield _clean("tape", _recorded(job.tape), make_watcher)
    else:
        yield from _injected("tape", _recorded(job.tape), job.seed, make_watcher)


def _clean(source: str, stream: Stream, make_watcher: MakeWatcher) -> Trial:
    samples = watch(stream.events, make_watcher(stream.symbol))
    return Trial(source, True, stream.start, stream.end, [], [], samples)


def _injected(source: str, stream: Stream, seed: int, make_watcher: MakeWatcher) -> Iterator[Trial]:
    for detector in DETECTORS:
        pace = Pace(_WARM_UP_SEC, GRACE_SEC[detector] + _FORGET_SEC)
        injection = Injection(stream, kinds_for(detector), pace, f"{seed}:{detector}")
        samples = watch(injection, make_watcher(stream.symbol))
        yield Trial(source, False, stream.start, stream.end, injection.episodes, injection.spoiled, samples)


def _market(job: SimJob) -> Stream:
    rng = random.Random(f"market:{job.seed}")
    return simulated(rng.choice(_SYMBOLS), seed=job.seed, rate=rng.choice(_RATES), seconds=job.seconds)


@lru_cache(maxsize=1)
def _recorded(paths: tuple[Path, ...]) -> Stream:
    return recorded(paths)
