"""The MCP prompts: market questions with the way to answer them, so that a model starts with the right tools."""

from mcp.server import MCPServer

_FRESH = (
    "Check ingestion.status and data_age_ms first: with `degraded` or `down` say that the data is old and how old, "
    "and draw no conclusion about the present. null means not known, never zero."
)


def add_prompts(server: MCPServer) -> None:
    """Add the prompts to `server`."""

    def market_check(symbol: str) -> str:
        return (
            f"How does the market of {symbol} look right now? Call get_report with symbol={symbol} and "
            f"detail=summary. {_FRESH} Then say in a few sentences: price and spread, which side of the book is "
            "heavier (depth.imbalance), who is trading more aggressively (flow.net_flow), where large quantity rests "
            "(liquidity.walls), and whether there are anomalies. Use explain_metric where a number's meaning matters."
        )

    def compare_markets(symbols: str) -> str:
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
