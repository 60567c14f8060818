"""The fast path answers as the SDK does, or lets the SDK answer: the same requests to both, hundreds of them bent."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.types import Message, Send

from app.stores.base import Publication, StoreUnavailableError
from app.stores.memory import MemoryReportStore
from report_server.calls import Envelope
from report_server.kept_answers import KeptAnswers
from support.bent_requests import bent
from support.examples import examples
from support.mcp_requests import call, headers_of, post, steady, well_formed
from support.reader_pair import ask, paired


@pytest.fixture
async def source(memory_store: MemoryReportStore, make_report: Callable[[str], bytes]) -> MemoryReportStore:
    await memory_store.publish([Publication(name, 1, make_report(name)) for name in ("BTCUSDT", "ETHUSDT")])
    await memory_store.publish([Publication("BROKEN", 1, b"[1]"), Publication("EMPTY", 1, b"{}")])
    return memory_store


async def test_well_formed_calls_are_answered_by_the_fast_path_as_the_sdk_would(source: MemoryReportStore) -> None:
    requests = list(well_formed())
    assert len(requests) > 100

    async with paired(source) as pair:
        for request in requests:
            assert await ask(pair.fast, request) == await ask(pair.sdk, request), request
        assert not pair.passed_on


async def test_bent_requests_are_answered_as_the_sdk_answers_them(source: MemoryReportStore) -> None:
    requests = list(bent())
    assert len(requests) > 1000

    async with paired(source) as pair:
        for request in requests:
            assert await ask(pair.fast, request) == await ask(pair.sdk, request), request
        assert len(pair.passed_on) > 0.8 * len(requests), "whatever is unusual is the SDK's"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(60))
@given(words=st.lists(st.text(max_size=9) | st.text(' \t\n[]{}truefalsnul"0-1,:', max_size=9), min_size=3, max_size=3))
async def test_no_text_in_an_argument_is_read_otherwise_than_by_the_sdk(
    source: MemoryReportStore, words: list[str]
) -> None:
    one, two, three = words
    requests = [
        post(call("2025-11-25", tool, **arguments), headers_of("2025-11-25"))
        for tool, arguments in (
            ("get_report", {"symbol": one}),
            ("get_report", {"symbol": "BTCUSDT", "detail": two, "fields": [three]}),
            ("get_reports", {"symbols": ["BTCUSDT", one], "detail": two}),
            ("explain_metric", {"name": three}),
        )
    ]

    async with paired(source) as pair:
        for request in requests:
            assert await ask(pair.fast, request) == await ask(pair.sdk, request), request


async def test_a_store_that_is_away_is_answered_as_the_sdk_would() -> None:
    class Away:
        async def readings(self, symbols: Any) -> Any:
            raise StoreUnavailableError("gone")

        async def symbols(self, limit: int) -> list[str]:
            return []

    async with paired(Away()) as pair:
        for request in [each for each in well_formed() if each.method == "POST" and b"BTCUSDT" in each.chunks[0]]:
            reply = await ask(pair.fast, request)
            assert reply == await ask(pair.sdk, request)
            assert "try again" in str(reply.content) or "allowed: " in str(reply.content)
        assert not pair.passed_on


async def test_what_the_sdk_always_answers_alike_it_is_asked_once(source: MemoryReportStore) -> None:
    requests = list(steady())

    async with paired(source) as pair:
        for request in requests:
            first = await ask(pair.fast, request)
            assert first == await ask(pair.sdk, request), request
            asked = len(pair.passed_on)
            body = request.chunks[0].replace(b'"id": 7', b'"id": "another"')
            again = await ask(pair.fast, request._replace(chunks=(body,)))
            if again.content:
                assert again.content.pop("id") == "another"
                first.content.pop("id")
            assert again == first
            assert len(pair.passed_on) == asked, request


async def test_a_hundred_that_greet_at_once_cost_the_sdk_one_greeting(source: MemoryReportStore) -> None:
    (request,) = [each for each in steady() if b"tools/list" in each.chunks[0]][:1]

    async with paired(source) as pair:
        replies = await asyncio.gather(*(ask(pair.fast, request) for _ in range(100)))

        assert len(pair.passed_on) == 1
        assert {reply.status for reply in replies} == {200}
        assert all(reply.content == replies[0].content for reply in replies)


async def test_what_is_kept_of_them_has_a_bound() -> None:
    kept = KeptAnswers()

    async def answered(send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": b'{"jsonrpc":"2.0","id":1,"result":{}}'})

    async def drop(message: Message) -> None:
        pass

    for number in range(2000):
        envelope = Envelope("2.0", "tools/list", number, msgspec.Raw(b"%d" % number))
        await kept.answer(envelope, {}, answered, drop)

    assert len(kept) <= 128
