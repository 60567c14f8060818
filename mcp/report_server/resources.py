"""The MCP resources: `report://SYMBOL`, the whole report, and `schema://report`, what is in one.

A report as a resource is for clients that keep it in a model's context and want to be told when it changes
(`changes`). What a tool answers with an error is an error of the protocol here, since a resource has no other.
"""

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError
from mcp.server.mcpserver.resources import FunctionResource

from report_server import schema
from report_server.metrics import ReaderMetrics
from report_server.service import Outcome, ReportService

REPORT_URI = "report://"
SCHEMA_URI = "schema://report"
_JSON = "application/json"


def add_resources(server: MCPServer, service: ReportService, metrics: ReaderMetrics) -> None:
    """Add the resources to `server`."""

    async def report(symbol: str) -> str:
        answer = await metrics.timed("resources/read", service.get_report(symbol))
        if answer.outcome is Outcome.INVALID or answer.outcome is Outcome.ABSENT:
            raise ResourceNotFoundError(answer.error or f"no report of {symbol}")
        if answer.error is not None:
            raise ResourceError(answer.error)
        return answer.body.decode()

    server.resource(
        f"{REPORT_URI}{{symbol}}",
        name="report",
        title="Market report",
        description="The newest market report of a symbol, whole; see schema://report",
        mime_type=_JSON,
    )(report)
    server.add_resource(
        FunctionResource(
            uri=SCHEMA_URI,
            name="report-schema",
            title="JSON Schema of a report",
            description="Every field of a market report",
            mime_type=_JSON,
            fn=schema.report_schema,
        )
    )
