import json
from pathlib import Path
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator
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


def test_the_output_schema_of_a_report_names_every_section_with_its_type() -> None:
    output = schema.tool("get_report")["outputSchema"]
    report = json.loads(schema.report_schema())

    assert output["properties"].keys() == {*report["properties"], "cut"}
    assert output["properties"]["depth"] == {"type": "object"}
    assert output["properties"]["best_bid"] == {"type": ["null", "object"]}


@pytest.mark.parametrize("tool", STORED["tools"], ids=lambda tool: tool["name"])
def test_every_schema_is_a_schema_and_refers_to_nothing_outside_itself(tool: dict[str, Any]) -> None:
    for each in (tool["inputSchema"], tool["outputSchema"]):
        Draft202012Validator.check_schema(each)
        assert not list(_values_of("$ref", each))
        assert each["type"] == "object"


def _values_of(key: str, node: Any) -> list[str]:
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    own = [node[key]] if isinstance(node, dict) and key in node else []
    return own + [value for child in children for value in _values_of(key, child)]
