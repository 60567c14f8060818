import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.microstructure.events import SYMBOL_ALLOWED, is_symbol
from app.stores.base import Publication, Reading, StoreUnavailableError
from app.stores.memory import MemoryReportStore
from report_server.service import Outcome, ReportService
from support.workers import eventually

anything = st.one_of(
    st.text(),
    st.from_regex(r"[A-Za-z0-9 \n*:]{0,25}"),
    st.none() | st.integers() | st.floats() | st.lists(st.text(), max_size=3) | st.booleans(),
)


class _Source:
    """A store that one method makes up."""

    async def readings(self, symbols: Sequence[str]) -> Mapping[str, Reading | None]:
        raise NotImplementedError

    async def symbols(self, limit: int) -> list[str]:
        return []


class _Untouchable(_Source):
    async def readings(self, symbols: Sequence[str]) -> Mapping[str, Reading | None]:
        raise AssertionError(f"the store was asked for {symbols!r}")


class _Hanging(_Source):
    async def readings(self, symbols: Sequence[str]) -> Mapping[str, Reading | None]:
        await asyncio.Event().wait()
        return {}


class _Away(_Source):
    async def readings(self, symbols: Sequence[str]) -> Mapping[str, Reading | None]:
        raise StoreUnavailableError("connection refused by secret-host:6379")


async def test_a_report_of_this_moment_is_passed_on_byte_for_byte(
    make_report: Callable[[str], bytes],
) -> None:
    body, store = make_report("BTCUSDT"), MemoryReportStore(300, lambda: 55.5)
    await store.publish([Publication("BTCUSDT", json.loads(body)["writer"]["writerToken"], body)])
    service = ReportService(store, 1.0, 600_000, monotonic=lambda: 55.5)

    answer = await service.get_report("BTCUSDT")

    assert (answer.outcome, answer.body, answer.content["symbol"]) == (Outcome.FOUND, body, "BTCUSDT")


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


class _Switched(_Source):
    away = False

    async def readings(self, symbols: Sequence[str]) -> Mapping[str, Reading | None]:
        if self.away:
            raise StoreUnavailableError("gone")
        return dict.fromkeys(symbols)


async def answered(service: ReportService, outcome: Outcome) -> None:
    """Ask until the answer is of this kind: a store that is back is found by a probe."""

    async def asked() -> bool:
        return (await service.get_report("BTCUSDT")).outcome is outcome

    await eventually(asked, outcome.word)


async def test_only_changes_of_the_store_are_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("report_server.service._LOG_PAUSE_SEC", 0)
    source = _Switched()
    service = ReportService(source, 1.0, 600_000)
    for source.away, outcome in ((True, Outcome.UNAVAILABLE), (False, Outcome.ABSENT)):
        for _ in range(3):
            await answered(service, outcome)
    await service.close()

    assert [record.getMessage() for record in caplog.records] == [
        "the report store does not answer: gone",
        "the report store answers again",
    ]


async def test_a_store_that_comes_and_goes_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    source = _Switched()
    service = ReportService(source, 1.0, 600_000)
    for source.away in [True, False] * 10:
        await answered(service, Outcome.UNAVAILABLE if source.away else Outcome.ABSENT)
    await service.close()

    assert len(caplog.records) == 1


@pytest.mark.parametrize(("quiet_ms", "stale"), [(0, False), (2000, False), (2001, True), (3_600_000, True)])
async def test_a_report_whose_writer_went_quiet_is_marked_stale_and_down(
    make_report: Callable[[str], bytes],
    check_report: Callable[[Any], None],
    quiet_ms: int,
    stale: bool,
) -> None:
    now = 0.0
    store = MemoryReportStore(7200, lambda: now)
    body = make_report("BTCUSDT")
    await store.publish([Publication("BTCUSDT", json.loads(body)["writer"]["writerToken"], body)])
    now += quiet_ms / 1000
    service = ReportService(store, 1.0, 2000, monotonic=lambda: now)
    answer = await service.get_report("BTCUSDT")
    check_report(answer.content)
    assert json.loads(answer.body) == answer.content
    assert answer.content["ingestion"]["stale"] is stale
    assert (answer.content["ingestion"]["status"] == "down") is stale
    assert (answer.content["health"]["score"] == 0) is stale
    assert answer.content["data_age_ms"] == 42 + quiet_ms
    assert answer.age_ms == 42 + quiet_ms
