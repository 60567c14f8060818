"""What a number of a report means, from docs/metrics.md: one section of that page for each name that it explains.

A name is a field of a report (`spread_bps`), a section of it (`depth`), a part of one (`depth.imbalance`) or the
subject of a heading (`walls`). What docs/metrics.md does not treat, identity and provenance, is explained by its
description in docs/schemas/report.json. The examples and sources of the page are left out: they are for people who
check it.
"""

import json
import re
from functools import cache
from typing import Any, Final

import msgspec

from report_server import schema
from report_server.echo import LONGEST, shown

_HEADING: Final = re.compile(r"^## ", re.MULTILINE)
_CODE: Final = re.compile(r"^```.*?^```\n?", re.MULTILINE | re.DOTALL)
_SOURCE: Final = re.compile(r"^\*\*Source\.\*\*.*?(?=^\*\*|\Z)", re.MULTILINE | re.DOTALL)
_QUOTED: Final = re.compile(r"`([A-Za-z_][A-Za-z0-9_.]*)`")
_TICKER: Final = "The venue's own figure for the last 24 hours, passed on as it is; null until the venue sent one."
# Parts of a report that the page treats in several sections, or that need no formula.
_OVERVIEWS: Final = {
    "liquidity": "Large and missing quantity in the book, and where volume changed hands. Ask for walls, vacuums or "
    "volume_profile.",
    "anomalies": "Suspicious patterns, each with type, severity and a note. Ask for spoofing, iceberg or "
    "flash_crash_risk.",
    "provenance": "What the report was computed from: Kafka partition and offset, order book update, event times. "
    "Ask for a part, such as provenance.as_of.",
    **dict.fromkeys(("last_price", "change_24h_pct", "high_24h", "low_24h", "volume_24h"), _TICKER),
}


class UnknownMetricError(ValueError):
    """One line that names what was asked for and what there is."""


class Explanation(msgspec.Struct, frozen=True):
    """What a name means, as Markdown, under the title of its section."""

    name: str
    title: str
    text: str


def explain(name: object) -> Explanation:
    """Return what explains `name`.

    Raises:
        UnknownMetricError: nothing does.
    """
    key = _key(name) if isinstance(name, str) and len(name) <= LONGEST else ""
    index = _index()
    is_field = any(_key(field) == key for field in _fields())
    for known in (key, key.rpartition(".")[2], key.partition(".")[0] if is_field else ""):
        if known in index:
            return Explanation(key, *index[known])
    raise UnknownMetricError(f"invalid argument: name {shown(name)}; allowed: {', '.join(names())}, or a part of one")


@cache
def names() -> list[str]:
    """Return the names that can be asked for by themselves: parts of a report, and the page's own subjects."""
    subjects = [_subject(title) for title, _ in _sections()]
    fields = [name for name in _fields() if "." not in name and _key(name) in _index()]
    return list(dict.fromkeys([*fields, *subjects]))


@cache
def _index() -> dict[str, tuple[str, str]]:
    index = {name: (name, text) for name, text in _OVERVIEWS.items()}
    for title, body in _sections():
        subject = _subject(title)
        first = subject.partition("_")[0]
        for name in (subject, subject.removesuffix("s"), subject.removesuffix("_risk"), first):
            index.setdefault(name, (title, body))
    parts = {_key(name.rpartition(".")[2]) for name in _fields()}
    for title, body in _sections():
        for name in _defined(body) & parts:
            index.setdefault(name, (title, body))
    for name, description in _fields().items():
        if description:
            index.setdefault(_key(name), (name, description))
    return index


@cache
def _sections() -> list[tuple[str, str]]:
    """Return title and body of each section of the page, without examples and sources."""
    text = schema.packaged("docs", "metrics.md").read_text(encoding="utf-8")
    halves = [part.partition("\n") for part in _HEADING.split(text)[1:]]
    return [(title.strip(), _SOURCE.sub("", _CODE.sub("", body)).strip()) for title, _, body in halves]


def _subject(title: str) -> str:
    """Return a heading's subject as a name: `flash_crash_risk` for "Flash-crash risk: …"."""
    return _key(title.partition(":")[0])


def _defined(body: str) -> set[str]:
    """Return names quoted in a section's first paragraph and in the first column of its tables."""
    head, _, rest = body.partition("\n\n")
    columns = [line.split("|")[1] for line in rest.splitlines() if line.startswith("|")]
    return {_key(name.rpartition(".")[2]) for text in (head, *columns) for name in _QUOTED.findall(text)}


@cache
def _fields() -> dict[str, str]:
    """Return every field of a report as a dotted path, with its description in the schema or ''."""
    found: dict[str, str] = {}

    def walk(node: dict[str, Any], path: str) -> None:
        for name, part in node.get("properties", {}).items():
            inner = f"{path}.{name}" if path else name
            found[inner] = part.get("description", "")
            for each in (part, *part.get("anyOf", ())):
                walk(each, inner)

    walk(json.loads(schema.report_schema()), "")
    return found


def _key(name: str) -> str:
    return re.sub(r"[\s-]+", "_", name.strip().lower())
