"""The tables of the documentation that are made from something else: `python scripts/docs_pages.py` writes them anew.

A page holds them between `<!-- NAME: begin -->` and `<!-- NAME: end -->`, as Markdown that reads well in the
repository too. What they come from has one place: the JSON Schemas, the figures at the end of docs/capacity.md, the
measurements in docs/performance.md. A test fails while a page is not up to date.
"""

import json
import re
import sys
from collections.abc import Callable, Iterator
from math import ceil
from pathlib import Path
from typing import Any, Final

DOCS: Final = Path(__file__).parents[1] / "docs"
_Schema = dict[str, Any]


def events_table() -> str:
    """Return the payload of each event type, field by field."""
    schema = _schema("events")
    envelope = schema["oneOf"][0]
    shown = {name: each for name, each in envelope["properties"].items() if name not in ("type", "payload")}
    parts = ["Envelope, the same for every type:", _fields({**envelope, "properties": shown}, schema)]
    for kind in schema["oneOf"]:
        payload = schema["$defs"][kind["title"]]
        said = f" — {payload['description']}" if "description" in payload else ""
        parts += [f"Payload of `{kind['title']}`{said}:", _fields(payload, schema)]
    return "\n\n".join(parts)


def report_table() -> str:
    """Return every field of a report with its type."""
    schema = _schema("report")
    return _fields(schema, schema)


def tools_table() -> str:
    """Return the MCP tools with their arguments."""
    rows = ["| tool | what it does | arguments |", "|---|---|---|"]
    for tool in _schema("mcp")["tools"]:
        wanted = tool["inputSchema"]
        arguments = "; ".join(
            f"`{name}`{'' if name in wanted['required'] else '?'}: {_type(each, wanted)}"
            for name, each in wanted["properties"].items()
        )
        rows.append(f"| `{tool['name']}` | {tool['description']} | {arguments or '–'} |")
    return "\n".join(rows)


def failover_table() -> str:
    """Return the measured failovers in short, from docs/performance.md."""
    rows = ["| what | symbols | times | median s | worst s |", "|---|---|---|---|---|"]
    block = _block((DOCS / "performance.md").read_text(encoding="utf-8"), "bench-failover")
    for line in block.splitlines():
        cells = [cell.strip() for cell in line.strip("| ").split("|")]
        if len(cells) > 4 and cells[1].isdecimal():
            rows.append(f"| {' | '.join(cells[:5])} |")
    return "\n".join(rows)


def capacity_table() -> str:
    """Return what so many symbols need, by the formulas that docs/capacity.md gives in words."""
    figures = _figures((DOCS / "capacity.md").read_text(encoding="utf-8"))
    busy, calm = figures["events_busy"], figures["events_calm"]
    sizes = [*((symbols, busy) for symbols in (3, 10, 50, 100, 300, 1000)), (100, calm), (1000, calm)]
    rows = [
        "| symbols × events/s | workers | MB each | producers | partitions | Kafka MB/s | disk GB | changelog MB/s |"
        " Redis MB |",
        "|---|---|---|---|---|---|---|---|---|",
        *(_capacity(symbols, rate, figures) for symbols, rate in sizes),
    ]
    return "\n".join(rows)


def _capacity(symbols: int, rate: float, figures: dict[str, float]) -> str:
    events = symbols * rate
    workers = max(2, ceil(events / (figures["worker_events_per_core"] * figures["share"])))
    producers = ceil(events / (figures["producer_events_per_core"] * figures["share"]))
    # When one of them fails, the others share its symbols.
    memory = figures["worker_mb"] + figures["worker_mb_per_symbol"] * symbols / (workers - 1)
    partitions = 2 ** max(3, ceil(workers * figures["partitions_per_worker"] - 1).bit_length())
    kafka = events * figures["event_bytes"] * figures["compression"] / 1e6
    disk = kafka * 3600 * figures["retention_hours"] / 1000
    changelog = symbols * figures["changelog_kb"] / 1000
    redis = symbols * figures["redis_kb"] / 1000
    workers_known = events / workers <= figures["worker_measured_events"] and workers <= figures["workers_measured"]
    producers_known = events / producers <= figures["producer_measured_events"]
    kafka_known = events <= figures["kafka_measured_events"]
    cells = (
        f"{symbols:,} × {rate:g}".replace(" ", "\N{NO-BREAK SPACE}"),
        _known(workers_known, f"{workers}"),
        _known(workers_known, f"{memory:,.0f}"),
        _known(producers_known, f"{producers}"),
        f"{partitions}",
        _known(kafka_known, f"{kafka:,.1f}"),
        _known(kafka_known, f"{disk:,.0f}"),
        _known(workers_known, f"{changelog:,.1f}"),
        _known(workers_known, f"{redis:,.1f}"),
    )
    return f"| {' | '.join(cells)} |"


def _known(measured: bool, value: str) -> str:
    """Return a value, marked where it lies beyond what was measured."""
    return value if measured else f"≈\N{NO-BREAK SPACE}{value}"


def _figures(page: str) -> dict[str, float]:
    """Return the figures of a page: the rows of its tables that begin with a name in backticks and a number."""
    found = re.findall(r"^\| `([a-z_]+)` \| ([\d.,]+) \|", page, re.MULTILINE)
    return {name: float(value.replace(",", "")) for name, value in found}


def _schema(name: str) -> _Schema:
    loaded: _Schema = json.loads((DOCS / "schemas" / f"{name}.json").read_text(encoding="utf-8"))
    return loaded


def _fields(schema: _Schema, root: _Schema) -> str:
    rows = [f"| `{path}` | {kind} | {said} |" for path, kind, said in _walk(schema, root, "")]
    return "\n".join(["| field | type | |", "|---|---|---|", *rows])


def _walk(schema: _Schema, root: _Schema, prefix: str) -> Iterator[tuple[str, str, str]]:
    required = schema.get("required", [])
    for name, each in schema["properties"].items():
        inner, optional = _plain(each, root)
        kind = _type(each, root) + (", may be `null`" if optional else "") + ("" if name in required else ", optional")
        said = each.get("description") or inner.get("description", "")
        path = f"{prefix}{name}"
        if inner.get("type") == "array":
            path, inner = f"{path}[]", _plain(inner["items"], root)[0]
        yield path, kind, said
        if "properties" in inner and set(inner["properties"]) != {"price", "qty"}:
            yield from _walk(inner, root, f"{path}.")


def _plain(schema: _Schema, root: _Schema) -> tuple[_Schema, bool]:
    """Return the schema behind references, and whether `null` is allowed beside it."""
    if "anyOf" in schema:
        (inner,) = [each for each in schema["anyOf"] if each != {"type": "null"}]
        return _plain(inner, root)[0], True
    if "$ref" in schema:
        return _plain(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    return schema, False


def _type(schema: _Schema, root: _Schema) -> str:
    inner, _ = _plain(schema, root)
    if "const" in inner:
        return f"`{json.dumps(inner['const'])}`"
    if "enum" in inner:
        return ", ".join(f"`{json.dumps(value)}`" for value in inner["enum"])
    kind: str = inner["type"]
    if kind == "array":
        most = f"at most {inner['maxItems']} of " if "maxItems" in inner else "list of "
        return most + _type(inner["items"], root) if "items" in inner else "[price, quantity]"
    if kind == "object" and set(inner.get("properties", ())) == {"price", "qty"}:
        return "{price, qty}"
    return kind + _range(inner)


def _range(schema: _Schema) -> str:
    if "pattern" in schema and "format" not in schema:
        return f" `{schema['pattern']}`"
    said = []
    for key, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤")):
        if key in schema and abs(schema[key]) < 2**62:
            said.append(f"{sign} {schema[key]}")
    return f" {', '.join(said)}" if said else ""


TABLES: Final[dict[tuple[str, str], Callable[[], str]]] = {
    ("schemas.md", "events"): events_table,
    ("schemas.md", "report"): report_table,
    ("schemas.md", "tools"): tools_table,
    ("architecture.md", "failover"): failover_table,
    ("capacity.md", "capacity"): capacity_table,
}


def made(page: str, name: str, text: str) -> str:
    """Return the text of a page with its table `name` made anew."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    return text.replace(_block(text, name), f"{begin}\n{TABLES[page, name]()}\n{end}")


def _block(text: str, name: str) -> str:
    found = re.search(f"<!-- {name}: begin -->.*?<!-- {name}: end -->", text, re.DOTALL)
    if found is None:
        raise SystemExit(f"the markers <!-- {name}: begin --> and <!-- {name}: end --> are missing")
    return found[0]


def main() -> int:
    """Write every table anew."""
    for page, name in TABLES:
        path = DOCS / page
        path.write_text(made(page, name, path.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
