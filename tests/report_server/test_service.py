import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import ConnectionPool

from app.microstructure.events import SYMBOL_ALLOWED, is_symbol
from app.stores.base import Publication, StoreUnavailableError
from app.stores.memory import MemoryReportStore
from report_server.service import Outcome, ReportService

anything = st.one_of(
    st.text(),
    st.from_regex(r"[A-Za-z0-9 \n*:]{0,25}"),
    st.none() | st.integers() | st.floats() | st.lists(st.text(), max_size=3) | st.booleans(),
)


class _Untouchable:
    async def read(self, symbol: str) -> bytes | None:
        raise AssertionError(f"the store was asked for {symbol!r}")


class _Hanging:
    async def read(self, symbol: str) -> bytes | None:
        await asyncio.Event().wait()
        return None


class _Away:
    async def read(self, symbol: str) -> bytes | None:
        raise StoreUnavailableError("connection refused by secret-host:6379")


async def test_a_report_is_passed_on_byte_for_byte(
    memory_store: MemoryReportStore, make_report: Callable[[str], bytes]
) -> None:
    body = make_report("BTCUSDT")
    await memory_store.publish([Publication("BTCUSDT", 1, body)])

    answer = await ReportService(memory_store, 1.0, 600_000).get_report("BTCUSDT")

    assert (answer.outcome, answer.body, answer.report["symbol"]) == (Outcome.FOUND, body, "BTCUSDT")


async def test_an_unknown_symbol_is_answered_with_null(memory_store: MemoryReportStore) -> None:
    answer = await ReportService(memory_store, 1.0, 600_000).get_report("NOSUCH")

    assert (answer.outcome, answer.body, answer.error) == (Outcome.ABSENT, b"null", None)


@given(symbol=anything)
async def test_what_is_not_a_symbol_never_reaches_the_store(symbol: object) -> None:
    if isinstance(symbol, str) and is_symbol(symbol):
        return

    answer = await ReportService(_Untouchable(), 1.0, 600_000).get_report(symbol)

    assert answer.outcome is Outcome.INVALID
    assert answer.symbol is None
    assert answer.error is not None
    assert SYMBOL_ALLOWED in answer.error
    assert answer.error.isascii() or "…" in answer.error
    assert len(answer.error.splitlines()) == 1
    assert len(answer.error) < 200


async def test_a_store_that_hangs_is_given_up_after_the_limit() -> None:
    async with asyncio.timeout(10):
        answer = await ReportService(_Hanging(), 0.01, 600_000).get_report("BTCUSDT")

    assert answer.outcome is Outcome.UNAVAILABLE
    assert answer.error == "the report store is away or did not answer within 10 ms; try again"


async def test_an_absent_store_is_an_error_that_does_not_name_its_address() -> None:
    answer = await ReportService(_Away(), 1.0, 600_000).get_report("BTCUSDT")

    assert answer.outcome is Outcome.UNAVAILABLE
    assert b"secret-host" not in answer.body


@pytest.mark.parametrize("stored", [b"", b"{", b"null", b"[1]", b'"text"', b'{"a":"\xff"}', b"[" * 100_000])
async def test_a_stored_value_that_is_no_json_object_is_not_passed_on(
    memory_store: MemoryReportStore, stored: bytes
) -> None:
    await memory_store.publish([Publication("BTCUSDT", 1, stored)])

    answer = await ReportService(memory_store, 1.0, 600_000).get_report("BTCUSDT")

    assert answer.outcome is Outcome.CORRUPT
    assert answer.error == "the stored report of BTCUSDT is not a JSON object"


async def test_the_store_check_times_a_read_and_tells_a_failure(memory_store: MemoryReportStore) -> None:
    healthy = await ReportService(memory_store, 1.0, 600_000).check_store()
    failed = await ReportService(_Away(), 1.0, 600_000).check_store()

    assert healthy.error is None
    assert healthy.latency_ms >= 0
    assert failed.error is not None


class _Switched:
    away = False

    async def read(self, symbol: str) -> bytes | None:
        if self.away:
            raise StoreUnavailableError("gone")
        return None


async def test_only_changes_of_the_store_are_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("report_server.service._LOG_PAUSE_SEC", 0)
    source = _Switched()
    service = ReportService(source, 1.0, 600_000)
    for source.away in (True, True, True, False, False):
        await service.get_report("BTCUSDT")

    assert [record.getMessage() for record in caplog.records] == [
        "the report store does not answer: StoreUnavailableError('gone')",
        "the report store answers again",
    ]


async def test_a_store_that_comes_and_goes_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    source = _Switched()
    service = ReportService(source, 1.0, 600_000)
    for source.away in [True, False] * 100:
        await service.get_report("BTCUSDT")

    assert len(caplog.records) == 1


async def test_a_crowd_of_callers_shares_a_few_reads_and_all_are_answered() -> None:
    class Counting:
        now = most = 0

        async def read(self, symbol: str) -> bytes | None:
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(0)
            self.now -= 1
            return b"{}"

    source = Counting()
    service = ReportService(source, 10.0, 600_000)
    answers = await asyncio.gather(*(service.get_report("BTCUSDT") for _ in range(500)))

    assert {answer.outcome for answer in answers} == {Outcome.FOUND}
    assert source.most < ConnectionPool().max_connections


@pytest.mark.parametrize(("quiet_ms", "stale"), [(0, False), (2000, False), (2001, True), (3_600_000, True)])
async def test_a_report_whose_writer_went_quiet_is_marked_stale_and_down(
    memory_store: MemoryReportStore,
    make_report: Callable[[str], bytes],
    check_report: Callable[[Any], None],
    quiet_ms: int,
    stale: bool,
) -> None:
    body = make_report("BTCUSDT")
    await memory_store.publish([Publication("BTCUSDT", 1, body)])
    written_ms = json.loads(body)["updatedAt"]
    service = ReportService(memory_store, 1.0, 2000, wall_ms=lambda: written_ms + quiet_ms)
    answer = await service.get_report("BTCUSDT")
    check_report(answer.report)
    assert json.loads(answer.body) == answer.report
    assert answer.report["ingestion"]["stale"] is stale
    assert (answer.report["ingestion"]["status"] == "down") is stale
    assert (answer.report["health"]["score"] == 0) is stale
    assert answer.report["data_age_ms"] == 42 + (quiet_ms if stale else 0)
    assert stale or answer.body == body
