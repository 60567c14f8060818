from typing import Any

import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, TextContent

from app.stores.memory import MemoryReportStore
from report_server.metrics import ReaderMetrics
from report_server.server import build_server
from report_server.service import ReportService

ERAS = pytest.mark.parametrize("mode", ["legacy", "auto"])


def client(store: MemoryReportStore, mode: str) -> Client:
    return Client(build_server(ReportService(store, 5.0, 600_000), ReaderMetrics()), mode=mode)


@ERAS
@pytest.mark.parametrize("symbols", ["BTCUSDT,ETHUSDT", "BTCUSDT, ETHUSDT", "BTCUSDT ETHUSDT", "BTCUSDT"])
async def test_markets_may_be_named_as_people_write_lists(
    memory_store: MemoryReportStore, mode: str, symbols: str
) -> None:
    async with client(memory_store, mode) as session:
        prompt = await session.get_prompt("compare_markets", {"symbols": symbols})

    (message,) = prompt.messages
    assert isinstance(message.content, TextContent)
    assert symbols in message.content.text


@ERAS
@pytest.mark.parametrize(
    ("name", "arguments", "why"),
    [
        ("nosuch", {}, "name 'nosuch'; allowed: market_check, compare_markets"),
        ("market_check", {}, "symbol is missing; allowed: 2 to 20"),
        ("market_check", None, "symbol is missing; allowed: 2 to 20"),
        ("market_check", {"symbol": "btc\n"}, r"symbol 'btc\\n'; allowed: 2 to 20"),
        ("market_check", {"symbol": "BTCUSDT", "x": "1"}, "'x'; allowed: symbol"),
        ("compare_markets", {}, "symbols None; allowed: a list of 1 to 50"),
        ("compare_markets", {"symbols": " , "}, "symbols with 0; allowed: a list of 1 to 50"),
        ("compare_markets", {"symbols": "BTCUSDT; drop"}, "symbol 'BTCUSDT;'; allowed: 2 to 20"),
        ("compare_markets", {"symbols": "AA " * 51}, "symbols with 51; allowed"),
    ],
)
async def test_a_wrong_argument_is_refused_in_one_line_that_says_what_is_allowed(
    memory_store: MemoryReportStore,
    mode: str,
    name: str,
    arguments: dict[str, Any] | None,
    why: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with client(memory_store, mode) as session:
        with pytest.raises(MCPError) as refused:
            await session.get_prompt(name, arguments)

    assert refused.value.error.code == INVALID_PARAMS
    assert why.replace("\\\\", "\\") in refused.value.error.message
    assert "Traceback" not in caplog.text
