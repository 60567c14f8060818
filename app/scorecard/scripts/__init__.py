"""What traders do, written as scripts: generators that act on a `Venue` once before each of its diffs.

A script returns whether its pattern came about; where the market did not let it, the time counts neither as
truth nor as quiet. Strengths say how far a pattern goes beyond what is usual.
"""

import random
from collections.abc import Callable, Generator

from app.microstructure.report import Severity
from app.scorecard.venue import Venue

Script = Generator[None, None, bool]
Writer = Callable[[Venue, random.Random, Severity], Script]


def wait(venue: Venue, seconds: float) -> Generator[None, None, None]:
    """Let the market go on for some time."""
    until = venue.now + int(seconds * 1e9)
    while venue.now < until:
        yield
