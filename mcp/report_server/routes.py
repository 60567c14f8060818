"""Plain HTTP beside MCP; /openapi.json describes it (`openapi`).

An unknown symbol is answered with 200 and `null`, as over MCP: null is an answer, and a status of error
would make callers treat it as a failure. Reports are guarded like `/mcp` against web pages that reach a
local server under a name of their own (Host and Origin are checked); health and metrics are not, since
probes and scrapers address a process by whatever address it happens to have.
"""

from collections.abc import Awaitable, Callable

import msgspec
from mcp.server import MCPServer
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from report_server.answers import http_response
from report_server.board import PREFIX, Board
from report_server.metrics import ReaderMetrics
from report_server.openapi import document
from report_server.openings import TooManyStreamsError
from report_server.service import Answer, ReportService
from report_server.stream import ReportStreams

Handler = Callable[[Request], Awaitable[Response]]
_NOT_STORED = {"cache-control": "no-store"}


def add_routes(
    server: MCPServer,
    service: ReportService,
    metrics: ReaderMetrics,
    security: TransportSecuritySettings,
    streams: ReportStreams | None,
) -> None:
    """Add the plain HTTP routes to `server`; without `streams` there is no /stream, and so no board."""
    host_guard = TransportSecurityMiddleware(security)

    def route(path: str, handler: Handler, *, guarded: bool = True) -> None:
        async def guard(request: Request) -> Response:
            return await host_guard.validate_request(request) or await handler(request)

        server.custom_route(path, methods=["GET"])(guard if guarded else handler)

    async def answered(request: Request, answer: Awaitable[Answer]) -> Response:
        status, headers, body = http_response(await metrics.timed("GET", answer), request.headers.get("if-none-match"))
        return Response(body, status, {name.decode(): value.decode() for name, value in headers})

    async def get_report(request: Request) -> Response:
        return await answered(request, service.get_report(_one(request, "symbol"), *_chosen(request)))

    async def reports(request: Request) -> Response:
        return await answered(request, service.get_reports(_several(request, "symbols"), *_chosen(request)))

    async def symbols(request: Request) -> Response:
        return await answered(request, service.list_symbols())

    route("/get_report", get_report)
    route("/reports", reports)
    route("/symbols", symbols)
    if streams is not None:
        route("/stream", _stream(streams))
        board = Board()
        route("/", board.page)
        route(PREFIX + "{name}", board.part)
    _add_own_routes(route, service, metrics)


def _stream(streams: ReportStreams) -> Handler:
    async def stream(request: Request) -> Response:
        try:
            client = getattr(request.state, "client", "")
            events = streams.open(_several(request, "symbols"), *_chosen(request), client)
        except ValueError as error:
            return _json({"error": str(error)}, 400)
        except TooManyStreamsError as error:
            return _json({"error": str(error)}, 503)
        # A proxy that gathers a stream would make old news of it.
        headers = {**_NOT_STORED, "x-accel-buffering": "no"}
        return StreamingResponse(events, headers=headers, media_type="text/event-stream")

    return stream


def _add_own_routes(route: Callable[..., None], service: ReportService, metrics: ReaderMetrics) -> None:
    async def live(_: Request) -> Response:
        return _json({"status": "ok"}, 200)

    async def ready(_: Request) -> Response:
        check = await service.check_store()
        healthy = check.error is None
        store = {"checked": "one read of the report store", **msgspec.structs.asdict(check)}
        # A wrong clock is somebody's to set right, and no reason to ask another reader: answers do not rest on it.
        clocks = {"checked": "clocks of workers and of this reader, by the store's", "error": service.clocks.problem()}
        checks = {"redis": store, "clocks": clocks}
        return _json({"status": "ok" if healthy else "unavailable", "checks": checks}, 200 if healthy else 503)

    async def prometheus(_: Request) -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    async def openapi(_: Request) -> Response:
        return Response(msgspec.json.encode(document()), media_type="application/json")

    route("/health", ready, guarded=False)
    route("/health/ready", ready, guarded=False)
    route("/health/live", live, guarded=False)
    route("/metrics", prometheus, guarded=False)
    route("/openapi.json", openapi)


def _one(request: Request, name: str) -> object:
    """Return a parameter that may come once; several are a list, which no parameter may be."""
    values = request.query_params.getlist(name)
    return values[0] if len(values) == 1 else values or None


def _several(request: Request, name: str) -> list[str] | None:
    """Return a parameter that is a list: separated by commas, or given several times."""
    values = request.query_params.getlist(name)
    return [part for value in values for part in value.split(",")] or None


def _chosen(request: Request) -> tuple[object, object]:
    return _one(request, "detail"), _several(request, "fields")


def _json(content: object, status: int) -> Response:
    return Response(msgspec.json.encode(content), status, headers=_NOT_STORED, media_type="application/json")
