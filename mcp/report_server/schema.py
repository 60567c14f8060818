"""The MCP contract: the tools as the server lists them and as docs/schemas/mcp.json holds them.

`get_report(symbol) -> ReportJSON | null` has to fit a protocol whose structured content is always an object
(up to version 2025-11-25). Declared as `dict | None`, the SDK would wrap every report as `{"result": …}`.
Here the structured content is the report itself, valid against docs/schemas/report.json, and `{}` stands
for null; the text block beside it is the same JSON, or `null`.

A model reads the list of tools before its first question and pays for each token of it. So the output schema names the
sections of a report and their types and leaves the rest to the resource `schema://report`, which is the whole of
report.json, and to `explain_metric`. Made from report.json, it cannot say anything else than that.

    python -m report_server.schema > docs/schemas/mcp.json
"""

import json
import sys
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final

from app.microstructure.events import SYMBOL_ALLOWED, SYMBOL_PATTERN
from report_server.arguments import MOST_SYMBOLS
from report_server.selection import DETAILS, MOST_FIELDS
from report_server.symbol_list import MOST_LISTED

TOOL_NAME: Final = "get_report"

_SYMBOL: Final = {"type": "string", "pattern": SYMBOL_PATTERN, "description": SYMBOL_ALLOWED}
_FIELDS: Final = {
    "type": "array",
    "items": {"type": "string"},
    "maxItems": MOST_FIELDS,
    "description": "only these sections or parts, such as flow or depth.imbalance",
}


def contract() -> dict[str, Any]:
    """Return the content of docs/schemas/mcp.json: the tools as `tools/list` gives them."""
    return {
        "title": "The tools of the context8 MCP server, as tools/list gives them",
        "description": "Generated from report.json by `python -m report_server.schema`.",
        "tools": [_get_report(), _get_reports(), _list_symbols(), _explain_metric()],
    }


def tool(name: str) -> dict[str, Any]:
    """Return the entry of the tool `name` in `contract`."""
    return next(each for each in contract()["tools"] if each["name"] == name)


def report_schema() -> str:
    """Return docs/schemas/report.json."""
    return packaged("schemas", "report.json").read_text(encoding="utf-8")


def packaged(folder: str, name: str) -> Traversable:
    """Return a file of docs/: a wheel carries it inside the package, a checkout keeps it where it is."""
    inside = files("report_server") / folder / name
    docs = Path(__file__).parents[2] / "docs"
    return inside if inside.is_file() else docs / name if folder == "docs" else docs / folder / name


def _get_report() -> dict[str, Any]:
    return _tool(
        TOOL_NAME,
        "Market report",
        "Newest market report of one symbol: prices, spread, depth, order flow, liquidity, anomalies, health. "
        "data_age_ms and ingestion.status say how fresh it is now. Unknown values are null. No report: null "
        "(structured: {}). Prefer detail=summary: it is a tenth of the size.",
        {"symbol": _SYMBOL, "detail": _detail("full"), "fields": _FIELDS},
        ["symbol"],
        {
            "type": "object",
            "description": "full: valid against the resource schema://report",
            "properties": _sections() | {"cut": {"type": "object", "description": "lengths of lists that were cut"}},
        },
    )


def _get_reports() -> dict[str, Any]:
    symbols = {"type": "array", "items": _SYMBOL | {"description": "as above"}, "minItems": 1, "maxItems": MOST_SYMBOLS}
    symbols["items"] = {"type": "string", "pattern": SYMBOL_PATTERN}
    return _tool(
        "get_reports",
        "Several market reports",
        "Reports of several symbols, read at one moment; null where there is none.",
        {"symbols": symbols, "detail": _detail("summary"), "fields": _FIELDS},
        ["symbols"],
        {
            "type": "object",
            "properties": {"reports": {"type": "object", "additionalProperties": {"type": ["object", "null"]}}},
            "required": ["reports"],
        },
    )


def _list_symbols() -> dict[str, Any]:
    listed = {
        "type": "object",
        "properties": {
            "symbol": {"type": "string"},
            "status": {"enum": ["ok", "degraded", "down", None]},
            "age_ms": {"type": ["integer", "null"]},
        },
        "required": ["symbol", "status", "age_ms"],
    }
    return _tool(
        "list_symbols",
        "Symbols with a report",
        f"Which symbols have a report, with ingestion status and age of the data; at most {MOST_LISTED}.",
        {},
        [],
        {
            "type": "object",
            "properties": {"symbols": {"type": "array", "items": listed}, "total": {"type": "integer"}},
            "required": ["symbols", "total"],
        },
    )


def _explain_metric() -> dict[str, Any]:
    return _tool(
        "explain_metric",
        "What a number means",
        "Formula, unit, window and edge cases of a report's field or metric, such as micro_price, walls or health.",
        {"name": {"type": "string", "maxLength": 60}},
        ["name"],
        {
            "type": "object",
            "properties": {"name": {"type": "string"}, "title": {"type": "string"}, "text": {"type": "string"}},
            "required": ["name", "title", "text"],
        },
    )


def _tool(
    name: str,
    title: str,
    description: str,
    arguments: dict[str, Any],
    required: list[str],
    output: dict[str, Any],
) -> dict[str, Any]:
    return {
        "name": name,
        "title": title,
        "description": description,
        "inputSchema": {"type": "object", "properties": arguments, "required": required},
        "outputSchema": output,
        "annotations": {"readOnlyHint": True, "openWorldHint": False},
    }


def _detail(default: str) -> dict[str, Any]:
    return {"enum": list(DETAILS), "default": default}


def _sections() -> dict[str, Any]:
    """Return the properties of a report without what is inside them."""
    schema = json.loads(report_schema())
    return {name: _brief(part, schema["$defs"]) for name, part in schema["properties"].items()}


def _brief(part: dict[str, Any], defs: dict[str, Any]) -> dict[str, Any]:
    types = sorted(_types(part, defs))
    return {"type": types[0] if len(types) == 1 else types}


def _types(part: dict[str, Any], defs: dict[str, Any]) -> set[str]:
    if "$ref" in part:
        return _types(defs[part["$ref"].rpartition("/")[2]], defs)
    if "anyOf" in part:
        return set().union(*(_types(each, defs) for each in part["anyOf"]))
    if "const" in part:
        return {"string"}
    return {part["type"]}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(contract(), indent=2, ensure_ascii=False) + "\n")
