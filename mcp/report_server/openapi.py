"""The description of the plain HTTP side that /openapi.json gives: OpenAPI 3.1, whose schemas are JSON Schema.

The report's schema is docs/schemas/report.json itself, so it cannot say anything else than that.
"""

import json
from functools import cache
from typing import Any, Final

from app import __version__
from app.microstructure.events import SYMBOL_ALLOWED, SYMBOL_PATTERN
from report_server import schema
from report_server.answers import AGE_HEADER
from report_server.arguments import MOST_SYMBOLS
from report_server.selection import DETAILS, FIELDS, MOST_FIELDS
from report_server.symbol_list import MOST_LISTED

_JSON: Final = "application/json"
_REPORT: Final = {"$ref": "#/components/schemas/Report"}
_PART: Final = {"type": "object", "description": "the parts of a report that detail or fields ask for"}
_SYMBOL: Final = {"type": "string", "pattern": SYMBOL_PATTERN, "description": SYMBOL_ALLOWED}


@cache
def document() -> dict[str, Any]:
    """Return the OpenAPI document."""
    report = json.loads(schema.report_schema())
    definitions = report.pop("$defs")
    report.pop("$schema", None)
    report.pop("$id", None)
    components = {name: _moved(part) for name, part in definitions.items()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "context8 reader",
            "version": __version__,
            "description": "Live market microstructure reports. MCP is at /mcp, on the same port.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"bearer": []}],
        "paths": _paths(),
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                **components,
                "Report": _moved(report),
                "Error": _object({"error": {"type": "string"}}),
                "Listed": _object(
                    {
                        "symbol": _SYMBOL,
                        "status": {"enum": ["ok", "degraded", "down", None]},
                        "age_ms": {"type": ["integer", "null"], "minimum": 0, "description": "of the data, now"},
                    }
                ),
            },
        },
    }


def _paths() -> dict[str, Any]:
    symbols = {"type": "array", "items": _SYMBOL, "minItems": 1, "maxItems": MOST_SYMBOLS}
    one = _parameter("symbol", _SYMBOL, required=True)
    several = _parameter("symbols", symbols, required=True)
    report = {"anyOf": [_REPORT, _PART, {"type": "null"}]}
    reports = _object({"reports": {"type": "object", "additionalProperties": report}})
    listed = {"type": "array", "items": {"$ref": "#/components/schemas/Listed"}, "maxItems": MOST_LISTED}
    names = _object({"symbols": listed, "total": {"type": "integer", "minimum": 0}})
    return {
        "/get_report": _get(
            "The newest report of one symbol, null if there is none",
            _answers(report, versioned=True),
            [one, *_chosen("full")],
        ),
        "/reports": _get(
            "Reports of several symbols, read at one moment", _answers(reports), [several, *_chosen("summary")]
        ),
        "/symbols": _get("Symbols that have a report", _answers(names, refused=False)),
        "/stream": _get(
            "Server-sent events: report, absent and unavailable, at once and whenever a report changes",
            _answers({"type": "string"}, media="text/event-stream"),
            [several, *_chosen("full")],
        ),
        "/health": _get("Whether the reader is ready: the same as /health/ready", _health(), is_open=True),
        "/health/ready": _get("Whether the report store answers", _health(), is_open=True),
        "/health/live": _get(
            "Whether the process answers", {"200": _body("it does", {"type": "object"})}, is_open=True
        ),
        "/metrics": _get("Prometheus metrics", {"200": _body("text format", {"type": "string"}, "text/plain")}),
        "/openapi.json": _get("This document", {"200": _body("OpenAPI 3.1", {"type": "object"})}),
    }


def _get(
    summary: str, responses: dict[str, Any], parameters: list[dict[str, Any]] | None = None, *, is_open: bool = False
) -> dict[str, Any]:
    refusals = {} if is_open else {"401": _error("no valid token"), "429": _error("too many requests")}
    operation: dict[str, Any] = {"summary": summary, "responses": responses | refusals}
    if parameters:
        operation["parameters"] = parameters
    if is_open:
        operation["security"] = []
    return {"get": operation}


def _answers(
    content: dict[str, Any], *, media: str = _JSON, versioned: bool = False, refused: bool = True
) -> dict[str, Any]:
    found = _body("the answer", content, media)
    answers: dict[str, Any] = {
        "200": found,
        "403": {"description": "the Origin is not allowed"},
        "421": {"description": "the Host is not allowed"},
        "500": _error("what is stored is no report"),
        "503": _error("the report store is away or too slow, or there is no room; try again"),
    }
    if refused:
        answers["400"] = _error("an argument is not what is allowed; the error says what is")
    if versioned:
        age = {"schema": {"type": "integer"}, "description": "age of the market data now, in ms"}
        headers = {"ETag": {"schema": {"type": "string"}}, AGE_HEADER: age}
        found["headers"] = headers
        answers["304"] = {"description": "not changed since the version of If-None-Match", "headers": headers}
    return answers


def _health() -> dict[str, Any]:
    content = {"type": "object", "required": ["status", "checks"]}
    return {"200": _body("it answers", content), "503": _body("it does not", content)}


def _chosen(default: str) -> list[dict[str, Any]]:
    fields = {"type": "array", "items": {"enum": list(FIELDS)}, "minItems": 1, "maxItems": MOST_FIELDS}
    return [
        _parameter("detail", {"enum": list(DETAILS), "default": default}),
        _parameter("fields", fields, description="sections or parts of one, such as flow,depth.imbalance"),
    ]


def _parameter(name: str, content: dict[str, Any], *, required: bool = False, description: str = "") -> dict[str, Any]:
    form = {"style": "form", "explode": False} if content.get("type") == "array" else {}
    described = {"description": description} if description else {}
    return {"name": name, "in": "query", "required": required, "schema": content, **form, **described}


def _body(description: str, content: dict[str, Any], media: str = _JSON) -> dict[str, Any]:
    return {"description": description, "content": {media: {"schema": content}}}


def _error(description: str) -> dict[str, Any]:
    return _body(description, {"$ref": "#/components/schemas/Error"})


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _moved(node: Any) -> Any:
    """Return a schema whose references point to where this document keeps definitions."""
    if isinstance(node, dict):
        return {
            key: value.replace("#/$defs/", "#/components/schemas/") if key == "$ref" else _moved(value)
            for key, value in node.items()
        }
    return [_moved(each) for each in node] if isinstance(node, list) else node
