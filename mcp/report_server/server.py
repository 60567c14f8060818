"""Composition: the MCP server around a `ReportService`, and the ASGI app that serves it over HTTP.

The HTTP side is stateless and answers with plain JSON: every request stands alone, so any number of readers
may share a load balancer, and a restart loses nothing. Whatever later answers hot requests sooner wraps the
app that `build_app` returns and uses the same service.
"""

from mcp.server import MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette

from app import __version__
from report_server.metrics import ReaderMetrics
from report_server.routes import add_routes
from report_server.service import ReportService
from report_server.tools import get_report_tool

_INSTRUCTIONS = (
    "Live market microstructure reports. Call get_report with a symbol such as BTCUSDT. Before relying on a "
    "report look at data_age_ms and ingestion.status: `degraded` and `down` mean that the market data is old."
)


def build_server(service: ReportService, metrics: ReaderMetrics) -> MCPServer:
    """Return the MCP server; it can be run over stdio, over HTTP, or in memory in a test."""
    return MCPServer(
        name="context8",
        title="context8 market reports",
        instructions=_INSTRUCTIONS,
        version=__version__,
        tools=[get_report_tool(service, metrics)],
        subscriptions=False,
    )


def build_app(service: ReportService, metrics: ReaderMetrics, security: TransportSecuritySettings) -> Starlette:
    """Return the ASGI app: MCP at /mcp, and beside it /get_report, /health and /metrics."""
    server = build_server(service, metrics)
    add_routes(server, service, metrics, security)
    return server.streamable_http_app(stateless_http=True, json_response=True, transport_security=security)
