"""The MCP tool: arguments in, `CallToolResult` out, nothing decided here.

Failures, a malformed symbol included, are tool errors (`isError` with one line of text), not JSON-RPC
errors: since its revision 2025-11-25 the protocol asks for that, because clients show tool errors to the
model, which can then correct its argument, while many show protocol errors to nobody.

The tool is assembled from its parts instead of decorated, for two reasons: its schemas are our contract
rather than what the SDK would derive from a signature, and bad arguments reach `ReportService`, whose
message names what is allowed, instead of being answered with pydantic's page of text.
"""

from typing import Any

from mcp.server.mcpserver.tools import Tool
from mcp.server.mcpserver.utilities.func_metadata import ArgModelBase, FuncMetadata
from mcp_types import CallToolResult, TextContent, ToolAnnotations

from report_server import schema
from report_server.metrics import ReaderMetrics
from report_server.service import Answer, ReportService


class _Arguments(ArgModelBase):
    symbol: Any = None  # checked by ReportService


def get_report_tool(service: ReportService, metrics: ReaderMetrics) -> Tool:
    """Return the tool `get_report`, answered by `service`."""

    async def get_report(symbol: object) -> CallToolResult:
        return _result(await metrics.timed("tools/call", service.get_report(symbol)))

    return Tool(
        fn=get_report,
        name=schema.TOOL_NAME,
        title=schema.TOOL_TITLE,
        description=schema.TOOL_DESCRIPTION,
        parameters=schema.input_schema(),
        fn_metadata=FuncMetadata(arg_model=_Arguments, output_schema=schema.output_schema()),
        is_async=True,
        context_kwarg=None,
        annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False),
    )


def _result(answer: Answer) -> CallToolResult:
    if answer.error is not None:
        return CallToolResult(content=[TextContent(type="text", text=answer.error)], is_error=True)
    text = TextContent(type="text", text=answer.body.decode())
    return CallToolResult(content=[text], structured_content=answer.report)
