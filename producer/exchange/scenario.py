"""Scenarios by name and time: `spoofing@30s,flash_crash@60s:ETHUSDT`, and the truth of what came of them.

A scenario is one kind of episode of the scorecard's catalogue (`app.scorecard.catalogue`), patterns and
look-alikes alike, under its name with underscores; the three that people ask for most have a short name. Its time
counts from the market's start, its symbol is the market's first one where none is named. What truly happened is
written as one line of JSON as soon as it is over.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from app.microstructure.report import Severity
from app.microstructure.rfc3339 import format_nanos
from app.scorecard.catalogue import KINDS, Detector, Kind, Role

STRENGTH: Final[Severity] = "high"
"""How far a pattern goes beyond what is usual: it is there to be seen."""

_SHORT: Final = {"spoofing": "spoofing near", "iceberg": "iceberg exact", "flash_crash": "crash"}
_UNITS_SEC: Final = {"s": 1, "m": 60, "h": 3600}
_LATEST_SEC: Final = 24 * _UNITS_SEC["h"]
FORM: Final = "NAME@TIME or NAME@TIME:SYMBOL, TIME a whole number and s, m or h, at most 24h, such as spoofing@30s"


def _catalogue() -> dict[str, Kind]:
    by_name = {kind.name: kind for kind in KINDS}
    named = {kind.name.replace(" ", "_"): kind for kind in KINDS}
    return {short: by_name[name] for short, name in _SHORT.items()} | named


SCENARIOS: Final = _catalogue()
"""Every scenario by its name."""


class ScenarioError(ValueError):
    """One line that names the scenario and lists what is allowed."""


class Planned(msgspec.Struct, frozen=True):
    """A scenario that is to begin `after_sec` seconds from the market's start."""

    name: str
    symbol: str
    after_sec: int

    @property
    def kind(self) -> Kind:
        """What is played."""
        return SCENARIOS[self.name]


class Truth(msgspec.Struct, frozen=True):
    """What came of a scenario; `start` and `end` are event times of the market, RFC 3339.

    Attributes:
        kind, detector, role, what: from the catalogue; only a `pattern` must be reported.
        seed: what the script drew from; with kind, strength and market it makes the same episode again.
        came_about: whether it was played to its end and the market let it happen.
    """

    scenario: str
    symbol: str
    planned_sec: int
    kind: str
    detector: Detector
    role: Role
    what: str
    strength: Severity
    seed: str
    start: str
    end: str
    came_about: bool


Tell = Callable[[Truth], None]


def truth_of(planned: Planned, seed: str, start_ns: int, end_ns: int, *, came_about: bool) -> Truth:
    """Return the truth of a scenario that was played; times in nanoseconds."""
    kind = planned.kind
    return Truth(
        scenario=planned.name,
        symbol=planned.symbol,
        planned_sec=planned.after_sec,
        kind=kind.name,
        detector=kind.detector,
        role=kind.role,
        what=kind.what,
        strength=STRENGTH,
        seed=seed,
        start=format_nanos(start_ns),
        end=format_nanos(end_ns),
        came_about=came_about,
    )


def parse(text: str, symbols: Sequence[str]) -> list[Planned]:
    """Return the scenarios of a comma-separated list, for a market of `symbols`.

    Raises:
        ScenarioError: a name, a time or a symbol is not allowed.
    """
    return [_one(part.strip(), symbols) for part in text.split(",")]


def _one(text: str, symbols: Sequence[str]) -> Planned:
    match = re.fullmatch(r"([^@:]*)@([0-9]{1,6})([smh])(?::(.*))?", text)
    after_sec = int(match[2]) * _UNITS_SEC[match[3]] if match else 0
    if not match or after_sec > _LATEST_SEC:
        raise ScenarioError(f"--scenario {text!r} is not allowed: {FORM}")
    if match[1] not in SCENARIOS:
        raise ScenarioError(f"--scenario {match[1]!r} is not known; allowed are {', '.join(SCENARIOS)}")
    symbol = symbols[0] if match[4] is None else match[4]
    if symbol not in symbols:
        raise ScenarioError(f"--scenario {text!r}: symbol {symbol!r} is not of this market: {', '.join(symbols)}")
    return Planned(match[1], symbol, after_sec)


class TruthFile:
    """JSON lines, each written out at once."""

    def __init__(self, path: Path) -> None:
        """Begin the file anew.

        Raises:
            OSError: it cannot be written.
        """
        self._path = path
        path.write_bytes(b"")

    def tell(self, truth: Truth) -> None:
        """Append a line."""
        with self._path.open("ab") as out:
            out.write(msgspec.json.encode(truth) + b"\n")
