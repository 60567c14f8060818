"""What came of `make bench-reader`: figures, and the text for docs/reader.md."""

import importlib.metadata
import math
import os
import platform
import re
import statistics
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from app.stack.redis import find_redis
from benchmarks.documents import Markers

MARKERS = Markers("bench-reader")
MUST_P99_MS, AIM_P99_MS, AIM_TIMES = 150.0, 30.0, 10.0
AT_CALLERS = 100  # where must and aim are looked at
_PACKAGES = ("mcp", "uvicorn", "redis")
NAMES = {
    "mcp": "get_report, MCP 2025-11-25",
    "modern": "get_report, MCP 2026-07-28",
    "get": "GET /get_report",
}
_OTHERS = {"get_reports": "get_reports of all ten", "resources/read": "resources/read of a report"}


class Speed(msgspec.Struct, frozen=True):
    """Medians of some rounds of one load on one server."""

    callers: int
    kind: str
    server: str
    per_sec: float
    p50_ms: float
    p99_ms: float
    errors: float


class Trouble(msgspec.Struct, frozen=True):
    """Medians of what the callers saw of a Redis in trouble; `None` where that never came, or there was no error.

    Attributes:
        without_ms: from the first error to the first answer after the last.
        back_ms: from the end of the trouble to the same.
    """

    fault: str
    server: str
    errors_share: float
    longest_ms: float
    without_ms: float | None
    back_ms: float | None


class Conditions(msgspec.Struct, frozen=True):
    """What the figures were measured with; `load` is the load average before and after."""

    command: str
    what: str
    load: tuple[float, float]


def speed(callers: int, kind: str, server: str, rounds: Sequence[dict[str, Any]]) -> Speed:
    """Return the medians of the rounds."""
    names = ("per_sec", "p50_ms", "p99_ms", "errors")
    return Speed(callers, kind, server, *(statistics.median(each[name] for each in rounds) for name in names))


def trouble(fault: str, server: str, rounds: Sequence[dict[str, Any]]) -> Trouble:
    """Return the medians of the rounds, each with `healed`, when the trouble was over."""
    shares = [each["errors"] / max(1, each["calls"]) for each in rounds]
    recovered = [each for each in rounds if each["good_again"] is not None]
    return Trouble(
        fault,
        server,
        statistics.median(shares),
        statistics.median(each["max_ms"] for each in rounds),
        _median((each["good_again"] - each["first_error"]) * 1000 for each in recovered),
        _median((each["good_again"] - each["healed"]) * 1000 for each in recovered),
    )


def speed_table(speeds: Iterable[Speed]) -> str:
    """Return the plain SDK server and the reader side by side."""
    by_load: dict[tuple[int, str], dict[str, Speed]] = {}
    for each in speeds:
        by_load.setdefault((each.callers, each.kind), {})[each.server] = each
    rows = [
        ["callers", "request", "plain SDK, calls/s", "p50 / p99 ms", "reader, calls/s", "p50 / p99 ms", "times as many"]
    ]
    for (callers, kind), servers in by_load.items():
        plain, reader = servers.get("plain SDK"), servers["reader"]
        times = f"{reader.per_sec / plain.per_sec:.1f}" if plain else "–"
        rows.append([str(callers), _name(kind), *_cells(plain), *_cells(reader), times])
    return _markdown(rows)


def trouble_table(troubles: Iterable[Trouble]) -> str:
    """Return what 100 callers saw of each trouble."""
    rows = [
        ["Redis", "server", "longest answer ms", "without a report, ms", "report again after its end, ms", "errors"]
    ]
    for each in troubles:
        calm = not each.errors_share and each.longest_ms < math.inf
        times = ["–", "–"] if calm else [_ms(each.without_ms), _ms(each.back_ms)]
        rows.append([each.fault, each.server, _ms(each.longest_ms), *times, f"{each.errors_share:.0%}"])
    return _markdown(rows)


def verdicts(speeds: Iterable[Speed]) -> list[str]:
    """Return a line on must and aim for each request that both servers answer, at `AT_CALLERS` callers."""
    at = [each for each in speeds if each.callers == AT_CALLERS]
    plain = {each.kind: each for each in at if each.server == "plain SDK"}
    lines = []
    for each in at:
        if each.server != "reader":
            continue
        times = each.per_sec / plain[each.kind].per_sec if each.kind in plain else math.inf
        must = "kept" if each.p99_ms <= MUST_P99_MS else "**missed**"
        aim = "reached" if each.p99_ms <= AIM_P99_MS and times >= AIM_TIMES else "missed"
        figures = f"{each.p99_ms:.1f} ms" + (f", {times:.1f} times" if times < math.inf else "")
        lines.append(f"- {_name(each.kind)}: {figures}; must {must}, aim {aim}")
    return lines


def markdown(conditions: Conditions, speeds: Sequence[Speed], troubles: Sequence[Trouble]) -> str:
    """Return all of it for a document."""
    before, after = conditions.load
    parts = [speed_table(speeds)] if speeds else []
    if any(each.callers == AT_CALLERS for each in speeds):
        aim = f"p99 of at most {AIM_P99_MS:g} ms and {AIM_TIMES:g} times the plain server's calls/s"
        parts += [
            f"At {AT_CALLERS} callers the must is a p99 of at most {MUST_P99_MS:g} ms, the aim a {aim}:",
            "\n".join(verdicts(speeds)),
        ]
    if troubles:
        parts += [f"What {AT_CALLERS} MCP callers saw of a Redis in trouble:", trouble_table(troubles)]
    parts.append(f"`{conditions.command}`, {conditions.what}; load average {before:.1f} before, {after:.1f} after.")
    return "\n\n".join(parts)


def what_with() -> str:
    """Return date, machine and versions."""
    found = re.search(r"^model name\s*: (.+)$", _text(Path("/proc/cpuinfo")), re.MULTILINE)
    redis = find_redis()[1].partition(" sha=")[0]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES)
    return (
        f"{datetime.now(UTC).isoformat(timespec='seconds')}; {found[1] if found else platform.machine()}, "
        f"{os.cpu_count()} cores; Python {platform.python_version()}, {redis}, {versions}"
    )


def _name(kind: str) -> str:
    return (NAMES | _OTHERS).get(kind, kind)


def _cells(each: Speed | None) -> list[str]:
    if each is None:
        return ["–", "–"]
    bad = f" ({each.errors:.0f} errors)" if each.errors else ""
    return [f"{each.per_sec:,.0f}{bad}", f"{each.p50_ms:.1f} / {each.p99_ms:.1f}"]


def _ms(value: float | None) -> str:
    return "never" if value is None or value == math.inf else f"{value:.0f}"


def _median(values: Iterable[float]) -> float | None:
    found = list(values)
    return statistics.median(found) if found else None


def _markdown(rows: list[list[str]]) -> str:
    head, *rest = rows
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rest])


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""
