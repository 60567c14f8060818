"""The MCP tools: arguments in, `CallToolResult` out, nothing decided here.

Failures, a malformed symbol included, are tool errors (`isError` with one line of text), not JSON-RPC
errors: since its revision 2025-11-25 the protocol asks for that, because clients show tool errors to the
model, which can then correct its argument, while many show protocol errors to nobody.

The tools are assembled from their parts instead of decorated, for two reasons: their schemas are our contract
rather than what the SDK would derive from a signature, and bad arguments reach `ReportService`, whose
message names what is allowed, instead of being answered with pydantic's page of text.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from mcp.server.mcpserver.tools import Tool
from mcp.server.mcpserver.utilities.func_metadata import ArgModelBase, FuncMetadata
from mcp_types import CallToolResult, TextContent, ToolAnnotations

from report_server import schema
from report_server.metrics import ReaderMetrics
from report_server.service import Answer, ReportService


class _ReportArguments(ArgModelBase):
    symbol: Any = None  # all of these are checked by ReportService
    detail: Any = None
    fields: Any = None


class _ReportsArguments(ArgModelBase):
    symbols: Any = None
    detail: Any = None
    fields: Any = None


class _NoArguments(ArgModelBase):
    pass


class _MetricArguments(ArgModelBase):
    name: Any = None


def tools(service: ReportService, metrics: ReaderMetrics) -> list[Tool]:
    """Return the tools, answered by `service`."""

    async def counted(answer: Awaitable[Answer]) -> CallToolResult:
        return _result(await metrics.timed("tools/call", answer))

    async def get_report(symbol: object, detail: object, fields: object) -> CallToolResult:
        return await counted(service.get_report(symbol, detail, fields))

    async def get_reports(symbols: object, detail: object, fields: object) -> CallToolResult:
        return await counted(service.get_reports(symbols, detail, fields))

    async def list_symbols() -> CallToolResult:
        return await counted(service.list_symbols())

    async def explain_metric(name: object) -> CallToolResult:
        return await counted(service.explain_metric(name))

    return [
        _tool(get_report, _ReportArguments),
        _tool(get_reports, _ReportsArguments),
        _tool(list_symbols, _NoArguments),
        _tool(explain_metric, _MetricArguments),
    ]


def _tool(fn: Callable[..., Awaitable[CallToolResult]], arguments: type[ArgModelBase]) -> Tool:
    entry = schema.tool(fn.__name__)
    return Tool(
        fn=fn,
        name=entry["name"],
        title=entry["title"],
        description=entry["description"],
        parameters=entry["inputSchema"],
        fn_metadata=FuncMetadata(arg_model=arguments, output_schema=entry["outputSchema"]),
        is_async=True,
        context_kwarg=None,
        annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False),
    )


def _result(answer: Answer) -> CallToolResult:
    if answer.error is not None:
        return CallToolResult(content=[TextContent(type="text", text=answer.error)], is_error=True)
    text = TextContent(type="text", text=answer.body.decode())
    return CallToolResult(content=[text], structured_content=answer.content)
