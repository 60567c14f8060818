"""Lines of logs, each held to docs/schemas/log.json."""

import json
from pathlib import Path
from typing import Any

import jsonschema_rs

from support.contracts import SCHEMAS

_LINE: Any = jsonschema_rs.validator_for(json.loads((SCHEMAS / "log.json").read_text()), validate_formats=True)


def log_line(text: str) -> dict[str, Any]:
    """Return a line of a log as a dictionary; raise if it is none of the contract."""
    try:
        line: dict[str, Any] = json.loads(text)
        _LINE.validate(line)
    except ValueError as error:  # of JSON and of the schema
        raise AssertionError(f"no line of a log: {text!r}: {error}") from error
    return line


def log_lines(log: Path) -> list[dict[str, Any]]:
    """Return everything that a process wrote to its standard output and error."""
    return [log_line(text) for text in log.read_text().splitlines()] if log.exists() else []
