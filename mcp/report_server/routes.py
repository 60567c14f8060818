"""Plain HTTP beside MCP: `GET /get_report?symbol=`, `/health` and `/metrics`.

An unknown symbol is answered with 200 and `null`, as over MCP: null is an answer, and a status of error
would make callers treat it as a failure. Reports are guarded like `/mcp` against web pages that reach a
local server under a name of their own (Host and Origin are checked); health and metrics are not, since
probes and scrapers address a process by whatever address it happens to have.
"""

import msgspec
from mcp.server import MCPServer
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

from report_server.metrics import ReaderMetrics
from report_server.service import ReportService

_NOT_STORED = {"cache-control": "no-store"}  # a report is old after 250 ms


def add_routes(
    server: MCPServer, service: ReportService, metrics: ReaderMetrics, security: TransportSecuritySettings
) -> None:
    """Add the plain HTTP routes to `server`."""
    guard = TransportSecurityMiddleware(security)

    async def get_report(request: Request) -> Response:
        refused = await guard.validate_request(request)
        if refused is not None:
            return refused
        symbols = request.query_params.getlist("symbol")
        symbol = symbols[0] if len(symbols) == 1 else symbols or None
        answer = await metrics.timed("GET", service.get_report(symbol))
        return _json(answer.body, answer.outcome.http_status)

    async def health(_: Request) -> Response:
        check = await service.check_store()
        healthy = check.error is None
        store = {"checked": "one read of the report store", **msgspec.structs.asdict(check)}
        body = {"status": "ok" if healthy else "unavailable", "checks": {"redis": store}}
        return _json(msgspec.json.encode(body), 200 if healthy else 503)

    async def prometheus(_: Request) -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    server.custom_route("/get_report", methods=["GET"])(get_report)
    server.custom_route("/health", methods=["GET"])(health)
    server.custom_route("/metrics", methods=["GET"])(prometheus)


def _json(body: bytes, status: int) -> Response:
    return Response(body, status, headers=_NOT_STORED, media_type="application/json")
