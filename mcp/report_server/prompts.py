"""The MCP prompts: market questions with the way to answer them, so that a model starts with the right tools.

What they are given is checked before the SDK sees it: it would write a traceback into the log for every argument that
is missing.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from mcp.server import MCPServer
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS

from app.microstructure.events import is_symbol
from report_server.arguments import SymbolsError, checked_symbols, refusal
from report_server.echo import shown

_FRESH = (
    "Check ingestion.status and data_age_ms first: with `degraded` or `down` say that the data is old and how old, "
    "and draw no conclusion about the present. null means not known, never zero."
)


def add_prompts(server: MCPServer) -> None:
    """Add the prompts to `server`."""

    async def market_check(symbol: str) -> str:
        return (
            f"How does the market of {symbol} look right now? Call get_report with symbol={symbol} and "
            f"detail=summary. {_FRESH} Then say in a few sentences: price and spread, which side of the book is "
            "heavier (depth.imbalance), who is trading more aggressively (flow.net_flow), where large quantity rests "
            "(liquidity.walls), and whether there are anomalies. Use explain_metric where a number's meaning matters."
        )

    async def compare_markets(symbols: str) -> str:
        return (
            f"Compare the markets {symbols} for somebody who wants to trade a larger quantity now. Call get_reports "
            "with these symbols and fields=[spread_bps, depth.imbalance, depth.sum_bid, depth.sum_ask, "
            f"flow.orders_per_sec, anomalies, health.score]. {_FRESH} Rank them by the cost and risk of trading and "
            "give the number behind each reason."
        )

    server.prompt(
        name="market_check", title="How is this market?", description="State of one market, with its freshness"
    )(market_check)
    server.prompt(name="compare_markets", title="Which market is better?", description="Several markets side by side")(
        compare_markets
    )


async def check_prompts(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """SDK middleware: refuse a prompt that is not there, or an argument that is not what is allowed."""
    if ctx.method == "prompts/get":
        params = ctx.params or {}
        name, arguments = params.get("name"), params.get("arguments") or {}
        # What is no name or no arguments at all is refused by the SDK, in the words of the protocol.
        if isinstance(name, str) and isinstance(arguments, Mapping):
            try:
                _check(name, arguments)
            except SymbolsError as error:
                raise MCPError(INVALID_PARAMS, str(error)) from None
    return await call_next(ctx)


def _check(name: str, arguments: Mapping[str, Any]) -> None:
    if name not in _CHECKS:
        raise SymbolsError(f"invalid argument: name {shown(name)}; allowed: {', '.join(_CHECKS)}")
    argument, check = _CHECKS[name]
    if others := arguments.keys() - {argument}:
        raise SymbolsError(f"invalid argument: {shown(min(others))}; allowed: {argument}")
    check(arguments.get(argument))


def _one(symbol: object) -> None:
    if not isinstance(symbol, str) or not is_symbol(symbol):
        raise SymbolsError(refusal(symbol))


def _several(symbols: object) -> None:
    parts = symbols.replace(",", " ").split() if isinstance(symbols, str) else symbols
    checked_symbols(parts)


_CHECKS: Final[dict[str, tuple[str, Callable[[object], None]]]] = {
    "market_check": ("symbol", _one),
    "compare_markets": ("symbols", _several),
}
