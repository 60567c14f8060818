import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcp import Client
from mcp_types import CallToolResult, TextContent

from app.microstructure.events import SYMBOL_ALLOWED, is_symbol
from app.stores.base import Publication, Reading, StoreUnavailableError
from app.stores.memory import MemoryReportStore
from report_server.metrics import ReaderMetrics
from report_server.server import build_server
from report_server.service import ReportService
from support.ages import without_ages

ERAS = pytest.mark.parametrize("mode", ["legacy", "auto"])

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def client(store: Any, mode: str = "auto") -> Client:
    return Client(build_server(ReportService(store, 1.0, 600_000), ReaderMetrics()), mode=mode)


def text_of(result: CallToolResult) -> str:
    (block,) = result.content
    assert isinstance(block, TextContent)
    return block.text


@ERAS
async def test_the_structured_content_is_the_report_and_the_text_the_same_json(
    memory_store: MemoryReportStore,
    make_report: Callable[[str], bytes],
    check_report: Callable[[Any], None],
    mode: str,
) -> None:
    body = make_report("BTCUSDT")
    await memory_store.publish([Publication("BTCUSDT", 1, body)])

    async with client(memory_store, mode) as session:
        result = await session.call_tool("get_report", {"symbol": "BTCUSDT"})

    assert not result.is_error
    assert json.loads(text_of(result)) == result.structured_content
    assert without_ages(result.structured_content) == without_ages(body)
    check_report(result.structured_content)


@ERAS
async def test_an_unknown_symbol_gives_null_and_no_error(memory_store: MemoryReportStore, mode: str) -> None:
    async with client(memory_store, mode) as session:
        result = await session.call_tool("get_report", {"symbol": "NOSUCH"})

    assert (result.is_error, text_of(result), result.structured_content) == (False, "null", {})


@ERAS
@pytest.mark.parametrize("arguments", [{}, {"symbol": None}, {"symbol": "btcusdt"}, {"symbol": 7}, {"Symbol": "A"}])
async def test_a_malformed_symbol_is_a_tool_error_that_says_what_is_allowed(
    memory_store: MemoryReportStore, mode: str, arguments: dict[str, Any]
) -> None:
    async with client(memory_store, mode) as session:
        result = await session.call_tool("get_report", arguments)

    assert result.is_error
    assert text_of(result).startswith("invalid argument: symbol ")
    assert SYMBOL_ALLOWED in text_of(result)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(symbol=json_values)
async def test_no_argument_whatever_breaks_the_tool(memory_store: MemoryReportStore, symbol: object) -> None:
    async with client(memory_store) as session:
        result = await session.call_tool("get_report", {"symbol": symbol})

    valid = isinstance(symbol, str) and is_symbol(symbol)
    assert result.is_error is not bool(valid)
    assert valid or SYMBOL_ALLOWED in text_of(result)


async def test_an_absent_store_is_a_tool_error_in_clear_words() -> None:
    class Away:
        async def readings(self, symbols: Sequence[str]) -> dict[str, Reading | None]:
            raise StoreUnavailableError("gone")

        async def symbols(self, limit: int) -> list[str]:
            raise StoreUnavailableError("gone")

    async with client(Away()) as session:
        result = await session.call_tool("get_report", {"symbol": "BTCUSDT"})

    assert result.is_error
    assert text_of(result) == "the report store is away or did not answer within 1000 ms; try again"
