"""What a model pays: the list of tools before its first question, and a typical answer."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from mcp import Client
from mcp_types import TextContent

from app.stores.base import Publication
from app.stores.memory import MemoryReportStore
from report_server.metrics import ReaderMetrics
from report_server.server import build_server
from report_server.service import ReportService
from support.tokens import tokens

TOOL_LIST_LIMIT = 1500
SUMMARY_LIMIT = 600


@pytest.fixture
async def client_of(memory_store: MemoryReportStore, make_report: Callable[[str], bytes]) -> Callable[[], Client]:
    await memory_store.publish([Publication("BTCUSDT", 1, busiest(make_report("BTCUSDT")))])
    return lambda: Client(build_server(ReportService(memory_store, 1.0, 600_000), ReaderMetrics()))


def busiest(report: bytes) -> bytes:
    """Return a report with all that a summary can hold: every number, walls, vacuums and anomalies."""
    full: dict[str, Any] = json.loads(report)
    full |= {"change_24h_pct": -12.345, "high_24h": 63456.78, "low_24h": 59876.54, "volume_24h": 123456.78901}
    full["micro_price"] = 61234.5678
    full["flow"] = {"orders_per_sec": 123.4, "net_flow": -123.45678901}
    wall = {"side": "bid", "price": 61234.56, "qty": 12.34567891, "severity": "medium"}
    vacuum = {"from": 61234.56, "to": 61245.67, "severity": "medium"}
    full["liquidity"] |= {"walls": [wall] * 20, "vacuums": [vacuum] * 5}
    note = "78% of 12 large orders cancelled 12 to 34 bps from mid within 5 s"
    full["anomalies"] = [{"type": "flash_crash_risk", "severity": "medium", "note": note}] * 3
    return json.dumps(full, separators=(",", ":")).encode()


async def test_the_list_of_tools_fits_its_budget(client_of: Callable[[], Client]) -> None:
    async with client_of() as client:
        listed = await client.list_tools()

    text = json.dumps([tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in listed.tools])
    compact = json.dumps(json.loads(text), separators=(",", ":"))
    assert tokens(compact) < TOOL_LIST_LIMIT, tokens(compact)


async def test_a_summary_of_the_busiest_market_fits_its_budget(client_of: Callable[[], Client]) -> None:
    async with client_of() as client:
        result = await client.call_tool("get_report", {"symbol": "BTCUSDT", "detail": "summary"})
        full = await client.call_tool("get_report", {"symbol": "BTCUSDT"})

    (text,), (whole,) = result.content, full.content
    assert isinstance(text, TextContent)
    assert isinstance(whole, TextContent)
    assert tokens(text.text) < SUMMARY_LIMIT, tokens(text.text)
    assert tokens(whole.text) > 3 * tokens(text.text), "a summary is worth asking for"


def test_the_estimate_is_on_the_dear_side() -> None:
    prose = "The micro-price leans towards the side that is about to give way: much quantity on the bid."
    # 18 words and 4 marks: a tokenizer of today makes about 22 tokens of it.
    assert 22 <= tokens(prose) <= 35
    numbers = "[61234.56,0.317,12.34567891]"
    # Digits by threes and each mark by itself: 61234 is two, 34567891 three.
    assert tokens(numbers) >= 13
