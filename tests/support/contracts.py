"""The JSON Schemas of docs/schemas as fast validators, and a watch that holds every report to them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from app.microstructure.engine import SlowSections, SymbolEngine
from app.microstructure.report import Report, Stamp, encode

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"


def _validator(name: str) -> Any:
    schema = json.loads((SCHEMAS / f"{name}.json").read_text())
    return jsonschema_rs.validator_for(schema, validate_formats=True)


_EVENT = _validator("events")
_REPORT = _validator("report")


def validate_event(value: bytes) -> None:
    """Raise if the bytes are no event of the contract."""
    _EVENT.validate(json.loads(value))


def validate_report(body: bytes | str) -> dict[str, Any]:
    """Return the report as a dictionary; raise if the bytes are none of the contract."""
    report: dict[str, Any] = json.loads(body)
    _REPORT.validate(report)
    return report


def report_error(report: Any) -> str | None:
    """Return in what a decoded report breaks the contract, `None` if in nothing."""
    error = next(iter(_REPORT.iter_errors(report)), None)
    return None if error is None else f"{error.instance_path}: {error.message}"[:300]


_make_report = SymbolEngine.report


@contextmanager
def unchecked_reports() -> Iterator[None]:
    """Let engines alone for a while: checks have no place in a measurement."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SymbolEngine, "report", _make_report)
        yield


@contextmanager
def every_report_checked() -> Iterator[None]:
    """Hold each report that any engine makes to the schema, in whatever test."""

    def checked(self: SymbolEngine, as_of: int, stamp: Stamp, slow: SlowSections | None = None) -> Report:
        report = _make_report(self, as_of, stamp, slow)
        validate_report(encode(report))
        return report

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SymbolEngine, "report", checked)
        yield
