"""The OpenAPI document by itself; test_http.py holds real answers to it."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import schemathesis
from jsonschema import Draft202012Validator
from jsonschema_rs import ValidationError
from starlette.routing import Route

from app.stores.memory import MemoryReportStore
from report_server.changes import Changes
from report_server.metrics import ReaderMetrics
from report_server.openapi import document
from report_server.security import transport_security
from report_server.server import build_sdk_app
from report_server.service import ReportService

# What OpenAPI 3.1.0 allows, in the parts that this document uses.
ALLOWED = {
    "root": {"openapi", "info", "servers", "security", "paths", "components"},
    "operation": {"summary", "responses", "parameters", "security"},
    "parameter": {"name", "in", "required", "schema", "style", "explode", "description"},
    "response": {"description", "content", "headers"},
}


def nodes(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from nodes(child)


def operations() -> list[Any]:
    return [pytest.param(path, item["get"], id=path) for path, item in document()["paths"].items()]


def test_the_document_is_one_as_openapi_3_1_defines_it() -> None:
    schemathesis.openapi.from_dict(document()).validate()


@pytest.mark.parametrize(
    "bend",
    [
        lambda made: made["info"].pop("title"),
        lambda made: made["info"]["license"].update(url="x", identifier=1),
        lambda made: made["paths"].update(no_slash={}),
        lambda made: made["paths"]["/symbols"]["get"]["responses"]["200"].pop("description"),
        lambda made: made["paths"]["/reports"]["get"]["parameters"][0].update({"in": "body"}),
        lambda made: made["components"]["securitySchemes"]["bearer"].update(type="token"),
    ],
)
def test_the_definition_of_openapi_tells_a_wrong_document(bend: Callable[[dict[str, Any]], object]) -> None:
    bent = copy.deepcopy(document())
    bend(bent)
    with pytest.raises(ValidationError):
        schemathesis.openapi.from_dict(bent).validate()


def test_the_document_has_what_openapi_wants_at_its_root() -> None:
    made = document()

    assert made.keys() == ALLOWED["root"]
    assert made["openapi"] == "3.1.0"
    assert {"title", "version"} <= made["info"].keys()
    assert all(set(entry) <= {"bearer"} for entry in made["security"])
    assert "bearer" in made["components"]["securitySchemes"]


@pytest.mark.parametrize(("path", "operation"), operations())
def test_every_operation_is_well_formed(path: str, operation: dict[str, Any]) -> None:
    assert operation.keys() <= ALLOWED["operation"]
    names = [parameter["name"] for parameter in operation.get("parameters", [])]
    assert len(names) == len(set(names))
    for parameter in operation.get("parameters", []):
        assert parameter.keys() <= ALLOWED["parameter"]
        assert parameter["in"] == "query"
        Draft202012Validator.check_schema(parameter["schema"])
    for status, response in operation["responses"].items():
        assert status.isdigit()
        assert response.keys() <= ALLOWED["response"]
        assert response["description"]
        for content in response.get("content", {}).values():
            Draft202012Validator.check_schema(content["schema"])


def test_every_reference_leads_somewhere() -> None:
    made = document()
    references = {node["$ref"] for node in nodes(made) if "$ref" in node}

    assert references
    for reference in references:
        target: Any = made
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]
        assert isinstance(target, dict)


def test_every_route_of_the_app_is_described_and_no_other(memory_store: MemoryReportStore) -> None:
    service = ReportService(memory_store, 1.0, 2000)

    async def nothing() -> Any:
        yield ""

    app = build_sdk_app(service, ReaderMetrics(), transport_security("127.0.0.1", []), Changes(nothing))
    paths = {route.path for route in app.routes if isinstance(route, Route)}

    for_people = {"/", "/board/{name}"}
    assert paths - {"/mcp"} - for_people == document()["paths"].keys()
