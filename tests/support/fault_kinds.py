"""The faults that schedules and the soak draw from: what each is called, whom it befalls, and what it excuses.

`report_sec` and `data_sec` are the limits of the contract's service levels: for so long may a symbol be without a new
report, or without a report of fresh data, because of this fault; the time for which a server or the source was away
altogether (`outage`) comes on top. A fault that readers of reports must not notice excuses nothing.
"""

import random
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple


class FaultKind(NamedTuple):
    """One kind of fault.

    Attributes:
        victim: what it befalls.
        report_sec: longest silence of reports that it excuses, seconds.
        data_sec: longest time without a report whose ingestion is `ok` that it excuses, seconds.
        shortest, longest: for how long it lasts, seconds; what lasts no time is over at once.
        outage: nothing can be expected while it lasts: of reports, of data, or of neither.
        source: trades may be missing, and books synchronised again, while it lasts and until all is up again.
    """

    victim: str
    report_sec: float
    data_sec: float
    shortest: float = 0.0
    longest: float = 0.0
    outage: str = "none"
    source: bool = False


# A worker that dies, hangs or comes and goes as planned: 2 s. Loss of a broker and of Redis: 10 s. A source that begins
# again: 20 s, in which everything has to be up.
KINDS: Final[Mapping[str, FaultKind]] = {
    "worker kill": FaultKind("worker", 2, 2, 1, 6),
    "worker pause": FaultKind("worker", 2, 2, 0.2, 0.8),
    "worker hang": FaultKind("worker", 2, 2, 2, 8),
    "worker stop": FaultKind("worker", 2, 2, 1, 6),
    "worker join": FaultKind("worker", 2, 2, 8, 15),
    "worker cut": FaultKind("network", 2, 2, 2, 8),
    "worker disk": FaultKind("disk", 2, 2, 4, 10),
    "worker clock": FaultKind("clock", 0, 0, 4, 10),
    "broker kill": FaultKind("broker", 10, 10, 2, 12),
    "broker hang": FaultKind("broker", 10, 10, 2, 8),
    "broker stop": FaultKind("broker", 10, 10, 2, 8),
    "worker and broker kill": FaultKind("broker", 12, 12, 2, 8),
    "redis kill": FaultKind("redis", 10, 10, 0.5, 5, "reports"),
    "redis hang": FaultKind("redis", 10, 10, 1, 6, "reports"),
    "producer kill": FaultKind("producer", 0, 20, 1, 6, "data", source=True),
    "producer hang": FaultKind("producer", 0, 20, 1, 8, "data", source=True),
    "producer stop": FaultKind("producer", 0, 20, 1, 6, "data", source=True),
    "exchange kill": FaultKind("exchange", 0, 20, 1, 6, "data", source=True),
    "exchange hang": FaultKind("exchange", 0, 20, 1, 8, "data", source=True),
    "exchange cut": FaultKind("network", 0, 20, 1, 8, "data", source=True),
}


class Fault(NamedTuple):
    """A fault `at` so many seconds after the start, for `lasts` seconds; `pick` in [0, 1) chooses among victims."""

    at: float
    kind: str
    lasts: float
    pick: float

    def __str__(self) -> str:
        return f"{self.at:.1f} s {self.kind}"


def drawn(dice: random.Random, at: float, kinds: Iterable[str]) -> Fault:
    """Return a fault of one of these kinds, as the dice fall."""
    kind = dice.choice(sorted(kinds))
    return Fault(at, kind, dice.uniform(KINDS[kind].shortest, KINDS[kind].longest), dice.random())


def every_kind_in_turn(seed: int, seconds: float, kinds: Iterable[str], pauses: tuple[float, float]) -> list[Fault]:
    """Return faults for so many seconds, as far apart as `pauses` say; each kind comes before any comes again."""
    dice, left, at = random.Random(seed), list[str](), 0.0
    faults: list[Fault] = []
    while (at := at + dice.uniform(*pauses)) < seconds:
        if not left:
            left = sorted(kinds)
            dice.shuffle(left)
        faults.append(drawn(dice, at, [left.pop()]))
    return faults
