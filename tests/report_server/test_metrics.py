from collections.abc import Sequence

import pytest
from prometheus_client import CollectorRegistry

from app.stores.base import Publication, Reading, StoreUnavailableError
from app.stores.memory import MemoryReportStore
from app.symbol_series import MOST_SYMBOLS
from report_server.metrics import FORGET_SEC, ReaderMetrics
from report_server.service import ReportService


def sample(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(name, labels)


async def test_requests_are_counted_by_method_and_outcome(memory_store: MemoryReportStore) -> None:
    metrics, service = ReaderMetrics(), ReportService(memory_store, 1.0, 600_000)
    await memory_store.publish([Publication("BTCUSDT", 1, b"{}")])

    for symbol in ("BTCUSDT", "NOSUCH", "bad", None):
        await metrics.timed("GET", service.get_report(symbol))

    counted = {
        status: sample(metrics.registry, "context8_mcp_requests_total", method="GET", status=status)
        for status in ("ok", "null", "invalid_argument")
    }
    assert counted == {"ok": 1, "null": 1, "invalid_argument": 2}
    timed = sample(metrics.registry, "context8_mcp_request_duration_ms_count", method="GET", code="200")
    assert timed == 2


async def test_a_symbol_without_a_report_never_becomes_a_label(memory_store: MemoryReportStore) -> None:
    metrics, service = ReaderMetrics(), ReportService(memory_store, 1.0, 600_000)

    for number in range(50):
        await metrics.timed("GET", service.get_report(f"MADEUP{number}"))

    assert sample(metrics.registry, "context8_mcp_cache_misses", symbol="unknown") == 50
    assert b"MADEUP" not in metrics.text()


async def test_a_symbol_that_had_a_report_is_named_when_it_is_missed() -> None:
    seconds = 0.0
    store = MemoryReportStore(300, lambda: seconds)
    metrics, service = ReaderMetrics(), ReportService(store, 1.0, 600_000)
    await store.publish([Publication("BTCUSDT", 1, b"{}")])

    await metrics.timed("GET", service.get_report("BTCUSDT"))
    seconds = 301.0
    await metrics.timed("GET", service.get_report("BTCUSDT"))

    assert sample(metrics.registry, "context8_mcp_cache_hits", symbol="BTCUSDT") == 1
    assert sample(metrics.registry, "context8_mcp_cache_misses", symbol="BTCUSDT") == 1


async def test_a_crash_is_counted_as_an_error() -> None:
    class Broken:
        async def readings(self, symbols: Sequence[str]) -> dict[str, Reading | None]:
            raise ZeroDivisionError

        async def symbols(self, limit: int) -> list[str]:
            raise ZeroDivisionError

    metrics = ReaderMetrics()
    with pytest.raises(ZeroDivisionError):
        await metrics.timed("tools/call", ReportService(Broken(), 1.0, 600_000).get_report("BTCUSDT"))

    crashed = sample(metrics.registry, "context8_mcp_requests_total", method="tools/call", status="error")
    assert crashed == 1
    assert sample(metrics.registry, "context8_errors_total", component="reader", type="unanswered") == 1


async def test_what_keeps_reports_from_callers_counts_as_an_error() -> None:
    class Away:
        async def readings(self, symbols: Sequence[str]) -> dict[str, Reading | None]:
            raise StoreUnavailableError("gone")

        async def symbols(self, limit: int) -> list[str]:
            raise StoreUnavailableError("gone")

    metrics = ReaderMetrics()
    assert sample(metrics.registry, "context8_errors_total", component="store", type="unavailable") == 0
    await metrics.timed("GET", ReportService(Away(), 1.0, 600_000).get_report("BTCUSDT"))
    await metrics.timed("GET", ReportService(Away(), 1.0, 600_000).get_report("not a symbol"))
    assert sample(metrics.registry, "context8_errors_total", component="store", type="unavailable") == 1


async def test_a_symbol_that_was_not_found_for_an_hour_is_forgotten(memory_store: MemoryReportStore) -> None:
    now = 0.0
    metrics, service = ReaderMetrics(lambda: now), ReportService(memory_store, 1.0, 600_000)
    await memory_store.publish([Publication(symbol, 1, b"{}") for symbol in ("BTCUSDT", "LEFTUSDT")])
    for symbol in ("BTCUSDT", "LEFTUSDT"):
        await metrics.timed("GET", service.get_report(symbol))
    now = FORGET_SEC
    await metrics.timed("GET", service.get_report("BTCUSDT"))
    assert b"LEFTUSDT" in metrics.text()
    now += 1
    text = metrics.text()
    assert b"LEFTUSDT" not in text
    assert b"BTCUSDT" in text


async def test_there_are_never_more_symbols_than_allowed(memory_store: MemoryReportStore) -> None:
    metrics, service = ReaderMetrics(), ReportService(memory_store, 1.0, 600_000)
    symbols = [f"S{number}" for number in range(MOST_SYMBOLS + 10)]
    await memory_store.publish([Publication(symbol, 1, b"{}") for symbol in symbols])
    for symbol in symbols:
        await metrics.timed("GET", service.get_report(symbol))
    shown = [line for line in metrics.text().splitlines() if line.startswith(b"context8_mcp_cache_hits{")]
    assert len(shown) == MOST_SYMBOLS
    assert sample(metrics.registry, "context8_mcp_cache_hits", symbol="S0") is None, "asked for longest ago"
    assert sample(metrics.registry, "context8_mcp_cache_hits", symbol=symbols[-1]) == 1
