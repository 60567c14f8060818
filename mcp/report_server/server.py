"""Composition: the MCP server around a `ReportService`, and the ASGI app that serves it over HTTP.

The HTTP side is stateless and answers with plain JSON: every request stands alone, so any number of readers
may share a load balancer, and a restart loses nothing. In front of the SDK's app stands the fast path, which answers
the hot requests from the same service.
"""

from typing import Any, Final

from mcp.server import MCPServer
from mcp.server.caching import CacheableMethod, CacheHint
from mcp.server.context import ServerMiddleware
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types import Implementation
from starlette.applications import Starlette
from starlette.types import ASGIApp

from app import __version__
from report_server.changes import Changes
from report_server.deadline import CallLimit, RequestLimit
from report_server.fast_path import FastPath
from report_server.guard import Guard, RateLimit
from report_server.legacy_subscriptions import LegacySubscriptions
from report_server.listening import Listening
from report_server.metrics import ReaderMetrics
from report_server.openings import Openings
from report_server.prompts import add_prompts, check_prompts
from report_server.resources import add_resources
from report_server.routes import add_routes
from report_server.security import MAX_BODY_BYTES, HostGate
from report_server.service import ReportService
from report_server.stream import ReportStreams
from report_server.tokens import Tokens
from report_server.tools import tools

NAME: Final = "context8"
TITLE: Final = "context8 market reports"
_INSTRUCTIONS: Final = (
    "Live market microstructure reports. list_symbols says which there are; get_report with detail=summary answers "
    "most questions. Before relying on a report look at data_age_ms and ingestion.status: `degraded` and `down` mean "
    "that the market data is old. explain_metric says what a number means."
)


# What a client is told that it may keep: these lists change with a release of the reader only.
_LISTS: Final[tuple[CacheableMethod, ...]] = (
    "tools/list",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
)
_LISTS_LAST_MS: Final = 600_000


def build_server(
    service: ReportService,
    metrics: ReaderMetrics,
    changes: Changes | None = None,
    openings: Openings | None = None,
    *,
    one_client: bool = False,
) -> MCPServer:
    """Return the MCP server; it can be run over stdio, over HTTP, or in memory in a test.

    With `changes`, clients may listen to those of `report://SYMBOL`, as many as `openings` allow; those that speak an
    older protocol only where the server has `one_client`, as over stdio.
    """
    service.newest.on_fall = metrics.store_went_back.inc
    service.clocks.on_wrong = metrics.note_wrong_clock
    listening: list[ServerMiddleware[Any]] = []
    if changes is not None:
        listening.append(Listening(changes, openings or Openings(metrics.streams)))
        if one_client:
            listening.append(LegacySubscriptions(changes))
    server: MCPServer = MCPServer(
        name=NAME,
        title=TITLE,
        instructions=_INSTRUCTIONS,
        version=__version__,
        tools=tools(service, metrics),
        # Says that one may listen; who does so is served by our own middleware.
        subscriptions=None if changes is not None else False,
        cache_hints=dict.fromkeys(_LISTS, CacheHint(_LISTS_LAST_MS, "public")),
        middleware=[CallLimit(service.timeout_sec), check_prompts, *listening],
    )
    add_resources(server, service, metrics)
    add_prompts(server)
    return server


def build_app(
    service: ReportService,
    metrics: ReaderMetrics,
    security: TransportSecuritySettings,
    changes: Changes | None = None,
    *,
    tokens: Tokens | None = None,
    rate: RateLimit | None = None,
) -> ASGIApp:
    """Return the ASGI app: MCP at /mcp, and plain HTTP beside it (`routes`).

    Without `changes` nobody can listen: there is no /stream, and resources do not say when they change.
    """
    plain = build_sdk_app(service, metrics, security, changes)
    info = Implementation(name=NAME, title=TITLE, version=__version__)
    fast = FastPath(RequestLimit(plain, service.timeout_sec), service, metrics, HostGate(security), info)
    return Guard(fast, tokens, rate, metrics.refused)


def build_sdk_app(
    service: ReportService,
    metrics: ReaderMetrics,
    security: TransportSecuritySettings,
    changes: Changes | None = None,
) -> Starlette:
    """Return the SDK's own app: it answers everything, and what is in front of it only sooner."""
    openings = Openings(metrics.streams)
    server = build_server(service, metrics, changes, openings)
    add_routes(server, service, metrics, security, ReportStreams(service, changes, openings) if changes else None)
    return server.streamable_http_app(
        stateless_http=True,
        json_response=True,
        max_request_body_size=MAX_BODY_BYTES,
        transport_security=security,
    )
