"""What came of the changes of hands: figures, the table for people, the text for docs/performance.md."""

import importlib.metadata
import math
import os
import platform
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from rich.table import Table

from app.stack.errors import StackError
from app.stack.java import find_java
from app.stack.kafka_files import KafkaFiles
from app.stack.redis import find_redis

MUST_SEC = 2.0
BEGIN, END = "<!-- bench-failover: begin -->", "<!-- bench-failover: end -->"
_PACKAGES = ("faust-streaming", "aiokafka", "redis")


class Change(msgspec.Struct, frozen=True):
    """One change of hands: seconds by symbol, which symbols went to another worker, and when it began (Unix ms).

    `load` is the load average of the last minute: how many processes wanted a core.
    """

    by_symbol: dict[str, float]
    moved: set[str]
    began_ms: float = 0.0
    load: float = msgspec.field(default_factory=lambda: os.getloadavg()[0])

    @property
    def worst(self) -> float:
        """The seconds of the symbol that waited longest."""
        return max(self.by_symbol.values())

    def worst_of(self, *, moved: bool) -> float | None:
        """The same of the symbols that moved, or of those that stayed; `None` if there are none."""
        return max((sec for symbol, sec in self.by_symbol.items() if (symbol in self.moved) == moved), default=None)


class Measured(msgspec.Struct, frozen=True):
    """All changes of one kind, what was looked for in them, and how well the watch could see."""

    name: str
    symbols: int
    what: str
    aim_sec: float
    changes: list[Change]
    watch_cpu_share: float
    watch_longest_pause_sec: float

    def at(self, share: float) -> float:
        """The time within which this share of the changes was over for every symbol, by nearest rank."""
        return percentile([change.worst for change in self.changes], share)

    @property
    def load(self) -> float:
        """The median of the load averages."""
        return percentile([change.load for change in self.changes], 0.5)

    def half(self, *, moved: bool) -> float | None:
        """The median over the changes for the symbols that moved, or for those that stayed."""
        values = [sec for change in self.changes if (sec := change.worst_of(moved=moved)) is not None]
        return percentile(values, 0.5) if values else None


class Machine(msgspec.Struct, frozen=True):
    """What the figures were measured on and with; `load` is the load average before and after."""

    command: str
    date: str
    processor: str
    cores: int
    python: str
    kafka: str
    redis: str
    packages: dict[str, str]
    load: tuple[float, float]


class Outcome(msgspec.Struct, frozen=True):
    """A whole run; `failures` says by part what went wrong."""

    machine: Machine
    measured: list[Measured]
    failures: dict[str, str]
    seconds: float


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest of `values` that at least this share of them do not exceed (nearest rank)."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def machine(command: str, load_before: float) -> Machine:
    """Return what this machine is now."""
    return Machine(
        command=command,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        processor=_processor(),
        cores=os.cpu_count() or 0,
        python=platform.python_version(),
        kafka=_kafka_version(),
        redis=find_redis()[1].partition(" sha=")[0],
        packages={name: importlib.metadata.version(name) for name in _PACKAGES},
        load=(load_before, os.getloadavg()[0]),
    )


def table(measured: Sequence[Measured]) -> Table:
    """Return the figures as people read them in a terminal."""
    shown = Table(*_HEADS)
    for each in measured:
        *cells, verdict, load = _cells(each)
        shown.add_row(*cells, f"[{'green' if verdict == 'all' else 'yellow'}]{verdict}[/]", load)
    return shown


def markdown(outcome: Outcome) -> str:
    """Return the figures and what they were measured with as Markdown."""
    with_what = outcome.machine
    rows = [_HEADS, ["---"] * len(_HEADS), *map(_cells, outcome.measured)]
    packages = ", ".join(f"{name} {version}" for name, version in with_what.packages.items())
    share = max(each.watch_cpu_share for each in outcome.measured)
    pause = max(each.watch_longest_pause_sec for each in outcome.measured)
    before, after = with_what.load
    return "\n".join(
        [
            *(f"| {' | '.join(row)} |" for row in rows),
            "",
            f"`{with_what.command}`, {with_what.date}, {outcome.seconds / 60:.0f} minutes.",
            f"{with_what.processor}, {with_what.cores} cores, load average {before:.1f} before and {after:.1f} after;",
            f"Python {with_what.python}, Kafka {with_what.kafka}, {with_what.redis}, {packages}.",
            f"The watch took up to {share:.0%} of a core; its longest pause was {pause * 1000:.0f} ms.",
        ]
    )


def require_markers(document: Path) -> None:
    """Raise unless the document has both markers.

    Raises:
        StackError: it cannot be read, or has not.
    """
    try:
        text = document.read_text(encoding="utf-8")
    except OSError as error:
        raise StackError(f"{document} cannot be read: {error.strerror}") from None
    if not 0 <= text.find(BEGIN) < text.find(END):
        raise StackError(f"{document} needs the lines {BEGIN} and {END}, between which the figures go")


def write_between_markers(document: Path, text: str) -> None:
    """Replace what the document has between the markers."""
    require_markers(document)
    head, _, rest = document.read_text(encoding="utf-8").partition(BEGIN)
    tail = rest.partition(END)[2]
    document.write_text(f"{head}{BEGIN}\n{text}\n{END}{tail}", encoding="utf-8")


_HEADS = [
    "",
    "symbols",
    "times",
    "P50 s",
    "P99 s",
    "worst s",
    "moved / stayed, P50 s",
    "aim s",
    "within the aim",
    "load",
]


def _cells(each: Measured) -> list[str]:
    halves = [each.half(moved=moved) for moved in (True, False)]
    worst = each.at(1.0)
    p50, p99, last = (f"{value:.2f}" for value in (each.at(0.5), each.at(0.99), worst))
    return [
        f"{each.name}: {each.what}",
        str(each.symbols),
        str(len(each.changes)),
        p50,
        p99,
        last,
        " / ".join("–" if half is None else f"{half:.2f}" for half in halves),
        f"{each.aim_sec:g}",
        _verdict(each, worst),
        f"{each.load:.1f}",
    ]


def _verdict(each: Measured, worst: float) -> str:
    if worst <= each.aim_sec:
        return "all"
    if worst > MUST_SEC:
        return f"worst beyond {MUST_SEC:g} s"
    within = sum(change.worst <= each.aim_sec for change in each.changes)
    return f"{within} of {len(each.changes)}"


def _processor() -> str:
    found = re.search(r"^model name\s*: (.+)$", _text(Path("/proc/cpuinfo")), re.MULTILINE)
    return found[1] if found else platform.machine()


def _kafka_version() -> str:
    jars = KafkaFiles(find_java()).jars
    return next(jar.stem.removeprefix("kafka-clients-") for jar in jars if jar.name.startswith("kafka-clients-"))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""
