"""The MCP contract of `get_report`: what the server lists and docs/schemas/mcp.json holds.

`get_report(symbol) -> ReportJSON | null` has to fit a protocol whose structured content is always an object
(up to version 2025-11-25). Declared as `dict | None`, the SDK would wrap every report as `{"result": …}`.
Here the structured content is the report itself, valid against docs/schemas/report.json, and `{}` stands
for null; the text block beside it is exactly the stored JSON, or `null`.

The output schema is made from report.json rather than written twice. It is inlined, not referenced:
clients refuse a `$ref` that leaves the schema, and some read nothing but the root's `properties`.

    python -m report_server.schema > docs/schemas/mcp.json
"""

import json
import sys
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final

from app.microstructure.events import SYMBOL_ALLOWED, SYMBOL_PATTERN

TOOL_NAME: Final = "get_report"
TOOL_TITLE: Final = "Market report"
TOOL_DESCRIPTION: Final = (
    "Newest market microstructure report of one symbol: prices, spread, depth, order flow, liquidity, "
    "anomalies and health, with data_age_ms and ingestion.status saying how fresh it is. "
    "Unknown values are null. Where no worker publishes the symbol the answer is null (structured: {})."
)


def input_schema() -> dict[str, Any]:
    """Return the JSON Schema of the tool's arguments."""
    symbol = {"type": "string", "pattern": SYMBOL_PATTERN, "description": f"trading pair, {SYMBOL_ALLOWED}"}
    return {"type": "object", "properties": {"symbol": symbol}, "required": ["symbol"]}


def output_schema() -> dict[str, Any]:
    """Return the JSON Schema of the structured content: a report, or `{}` for null."""
    report = json.loads(_report_schema().read_text(encoding="utf-8"))
    return {
        "type": "object",
        "description": "a report as in docs/schemas/report.json; {} where there is none",
        "properties": report["properties"],
        "anyOf": [{"required": report["required"]}, {"maxProperties": 0}],
        "additionalProperties": False,
        "$defs": report["$defs"],
    }


def contract() -> dict[str, Any]:
    """Return the content of docs/schemas/mcp.json: the tools as `tools/list` gives them."""
    return {
        "title": "The tools of the context8 MCP server, as tools/list gives them",
        "description": "Generated from report.json by `python -m report_server.schema`.",
        "tools": [
            {
                "name": TOOL_NAME,
                "title": TOOL_TITLE,
                "description": TOOL_DESCRIPTION,
                "inputSchema": input_schema(),
                "outputSchema": output_schema(),
                "annotations": {"readOnlyHint": True, "openWorldHint": False},
            }
        ],
    }


def _report_schema() -> Traversable:
    # A wheel carries the schemas inside the package, a checkout keeps them in docs/.
    packaged = files("report_server") / "schemas" / "report.json"
    return packaged if packaged.is_file() else Path(__file__).parents[2] / "docs" / "schemas" / "report.json"


if __name__ == "__main__":
    sys.stdout.write(json.dumps(contract(), indent=2, ensure_ascii=False) + "\n")
