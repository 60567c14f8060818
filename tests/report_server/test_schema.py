import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator, ValidationError
from mcp import Client

from app.stores.memory import MemoryReportStore
from report_server import schema
from report_server.metrics import ReaderMetrics
from report_server.schema import contract
from report_server.server import build_server
from report_server.service import ReportService

STORED: Final = json.loads((Path(__file__).parents[2] / "docs" / "schemas" / "mcp.json").read_text(encoding="utf-8"))


def test_mcp_json_is_what_report_json_makes_it() -> None:
    assert contract() == STORED, "run: python -m report_server.schema > docs/schemas/mcp.json"


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_the_server_lists_exactly_the_tools_of_mcp_json(memory_store: MemoryReportStore, mode: str) -> None:
    async with Client(build_server(ReportService(memory_store, 1.0, 600_000), ReaderMetrics()), mode=mode) as client:
        listed = (await client.list_tools()).tools

    assert [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in listed] == STORED["tools"]


def test_the_output_schema_takes_a_report_and_the_empty_object_and_nothing_else(
    make_report: Callable[[str], bytes],
) -> None:
    output = schema.output_schema()
    Draft202012Validator.check_schema(output)
    validator = Draft202012Validator(output)
    report: dict[str, Any] = json.loads(make_report("BTCUSDT"))

    validator.validate(report)
    validator.validate({})
    del report["provenance"]
    with pytest.raises(ValidationError):
        validator.validate(report)


def test_the_output_schema_refers_to_nothing_outside_itself() -> None:
    references = set(_values_of("$ref", STORED))

    assert references
    assert all(reference.startswith("#/$defs/") for reference in references)
    assert not list(_values_of("$id", STORED["tools"]))


def _values_of(key: str, node: Any) -> list[str]:
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    own = [node[key]] if isinstance(node, dict) and key in node else []
    return own + [value for child in children for value in _values_of(key, child)]
