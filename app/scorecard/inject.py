"""Play episodes into a stream, one at a time, and note the truth.

The plan comes from the seed: as many episodes as fit, about half of them patterns, each after a pause long
enough for what it set off to be forgotten. So an alarm always has one possible cause.
"""

import random
from collections.abc import Iterator
from typing import Final

import msgspec

from app.microstructure.events import TradeTick
from app.microstructure.report import Severity
from app.scorecard.catalogue import Detector, Kind, Role
from app.scorecard.scripts import Script
from app.scorecard.streams import MarketEvent, Stream
from app.scorecard.venue import Venue

STRENGTHS: Final[tuple[Severity, ...]] = ("low", "medium", "high")


class Episode(msgspec.Struct, frozen=True):
    """The truth: what was played from `start` to `end` (event time, ns)."""

    kind: str
    detector: Detector
    role: Role
    strength: Severity
    start: int
    end: int


class Pace(msgspec.Struct, frozen=True):
    """Seconds before the first episode, and between the end of one and the start of the next."""

    warm_up: float
    pause: float


class Injection:
    """A stream with episodes in it: iterate to get the events, in order; then `episodes` is complete.

    `spoiled` has the times (start, end) of episodes that the market did not let come about.
    """

    def __init__(self, stream: Stream, kinds: list[Kind], pace: Pace, seed: str) -> None:
        self.episodes: list[Episode] = []
        self.spoiled: list[tuple[int, int]] = []
        self._stream = stream
        self._rng = random.Random(seed)
        self._kinds = self._in_turn(kinds)
        self._pace = pace
        self._next_start = stream.start + self._after(pace.warm_up)
        self._playing: tuple[Kind, Severity, int, Script] | None = None

    def __iter__(self) -> Iterator[MarketEvent]:
        """Yield the joint market's events."""
        venue = Venue(self._stream)
        yield self._stream.events[0]
        for event in self._stream.events[1:]:
            if isinstance(event, TradeTick):
                yield venue.on_trade(event)
            else:
                venue.now = int(event.ts_event)
                self._act(venue)
                yield from venue.on_diff(event)
        self._cut_off(venue.now)

    def _act(self, venue: Venue) -> None:
        if self._playing is None:
            if venue.now < self._next_start:
                return
            kind, strength = next(self._kinds), self._rng.choice(STRENGTHS)
            self._playing = kind, strength, venue.now, kind.write(venue, self._rng, strength)
        kind, strength, start, script = self._playing
        try:
            next(script)
        except StopIteration as finished:
            self._note(kind, strength, start, venue.now, came_about=finished.value)

    def _note(self, kind: Kind, strength: Severity, start: int, end: int, *, came_about: bool) -> None:
        if came_about:
            self.episodes.append(Episode(kind.name, kind.detector, kind.role, strength, start, end))
        else:
            self.spoiled.append((start, end))
        self._playing = None
        self._next_start = end + self._after(self._pace.pause)

    def _cut_off(self, now: int) -> None:
        """An episode that the stream's end cut off is no fair truth."""
        if self._playing is not None:
            kind, strength, start, _ = self._playing
            self._note(kind, strength, start, now, came_about=False)

    def _after(self, seconds: float) -> int:
        return int(seconds * self._rng.uniform(1.0, 1.2) * 1e9)

    def _in_turn(self, kinds: list[Kind]) -> Iterator[Kind]:
        """Yield patterns half of the time; of patterns and of the others, all kinds before one comes again."""
        groups = [[kind for kind in kinds if (kind.role == "pattern") is pattern] for pattern in (True, False)]
        rounds = [self._in_rounds(group) for group in groups if group]
        while True:
            yield next(self._rng.choice(rounds))

    def _in_rounds(self, kinds: list[Kind]) -> Iterator[Kind]:
        while True:
            yield from self._rng.sample(kinds, len(kinds))
