"""Ten questions about the market, answered as an agent would: through the tools alone, knowing nothing beforehand.

The agent below has no model. It follows what the tools say of themselves: it starts with the list of tools, finds the
symbols, checks freshness before it says anything about the present, and asks what a number means where it needs to.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest
from mcp import Client
from mcp_types import TextContent

from app.stores.base import Publication
from app.stores.redis import RedisReportStore
from support.tokens import tokens

pytestmark = pytest.mark.stack


class Agent:
    """A client that keeps count of what it was told."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.paid = 0

    async def ask(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool and return its structured answer."""
        result = await self._client.call_tool(tool, arguments)
        (block,) = result.content
        assert isinstance(block, TextContent)
        assert not result.is_error, block.text
        self.paid += tokens(block.text)
        assert json.loads(block.text) == (result.structured_content or None)
        return result.structured_content or {}

    async def told(self, tool: str, **arguments: Any) -> str:
        """Call a tool that refuses, and return its words."""
        result = await self._client.call_tool(tool, arguments)
        (block,) = result.content
        assert isinstance(block, TextContent)
        assert result.is_error
        return block.text


@pytest.fixture
async def markets(store: RedisReportStore, make_report: Callable[[str], bytes]) -> None:
    """Three markets: a calm one, one with a wide spread and an anomaly, and one whose worker is gone."""
    calm = json.loads(make_report("BTCUSDT"))
    wild = json.loads(make_report("ETHUSDT")) | {
        "spread_bps": 12.5,
        "anomalies": [{"type": "spoofing", "severity": "high", "note": "82% of 11 large bids cancelled"}],
        "flow": {"orders_per_sec": 44.0, "net_flow": -310.5},
    }
    gone = json.loads(make_report("DOGEUSDT"))
    gone["updatedAt"] -= 3_600_000
    for epoch, report in enumerate((calm, wild, gone), 1):
        await store.publish([Publication(report["symbol"], epoch, json.dumps(report).encode())])


@pytest.mark.usefixtures("markets")
async def test_ten_market_questions_are_answered_through_the_tools_alone(reader_url: str) -> None:
    async with Client(f"{reader_url}/mcp") as client:
        agent = Agent(client)
        offered = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(offered["get_report"].input_schema["required"]) == {"symbol"}

        # 1. Which markets do you know, and which of them are up to date?
        listed = {each["symbol"]: each for each in (await agent.ask("list_symbols"))["symbols"]}
        fresh = [symbol for symbol, each in listed.items() if each["status"] == "ok"]
        assert {"BTCUSDT", "ETHUSDT"} <= set(fresh)
        assert "DOGEUSDT" not in fresh

        # 2. What does BTCUSDT cost right now?
        summary = await agent.ask("get_report", symbol="BTCUSDT", detail="summary")
        assert summary["ingestion"] == {"status": "ok", "stale": False}
        assert (summary["best_bid"]["price"], summary["best_ask"]["price"]) == (61234.56, 61234.57)

        # 3. How old is that figure?
        assert summary["data_age_ms"] >= 42

        # 4. Which side of its book is heavier?
        assert summary["depth"]["imbalance"] > 0

        # 5. And what does this imbalance mean exactly?
        meaning = await agent.ask("explain_metric", name="depth.imbalance")
        assert "(sum_bid − sum_ask) / (sum_bid + sum_ask)" in meaning["text"]

        # 6. Where do large orders rest?
        walls = (await agent.ask("get_report", symbol="BTCUSDT", fields=["liquidity.walls"]))["liquidity"]["walls"]
        assert [(wall["side"], wall["price"]) for wall in walls] == [("bid", 61234.0)]

        # 7. Which market is cheaper to trade, BTCUSDT or ETHUSDT?
        pair = (await agent.ask("get_reports", symbols=["BTCUSDT", "ETHUSDT"], fields=["spread_bps"]))["reports"]
        assert min(pair, key=lambda symbol: pair[symbol]["spread_bps"]) == "BTCUSDT"

        # 8. Is somebody manipulating ETHUSDT?
        (anomaly,) = (await agent.ask("get_report", symbol="ETHUSDT", fields=["anomalies"]))["anomalies"]
        assert (anomaly["type"], anomaly["severity"]) == ("spoofing", "high")
        assert "cancel" in (await agent.ask("explain_metric", name=anomaly["type"]))["text"]

        # 9. Is DOGEUSDT going up at the moment? Nobody can say: its data are an hour old.
        doge = await agent.ask("get_report", symbol="DOGEUSDT", detail="summary")
        assert doge["ingestion"] == {"status": "down", "stale": True}
        assert doge["data_age_ms"] > 3_600_000

        # 10. And "btc/usd"? The refusal says how a symbol looks, so the agent corrects itself; there is none.
        assert "2 to 20 of A-Z and 0-9" in await agent.told("get_report", symbol="btc/usd")
        assert await agent.ask("get_report", symbol="BTCUSD") == {}

    assert agent.paid < 6000
