"""Systems that share a Redis neither read nor hear each other, on the real server."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import NamedTuple

import pytest

from app.stores.base import Publication
from app.stores.redis import RedisReportStore
from app.stores.redis_reader import RedisReportReader


class System(NamedTuple):
    """A worker's store and a reader's."""

    store: RedisReportStore
    reader: RedisReportReader


@pytest.fixture
async def system(redis_url: str) -> AsyncIterator[Callable[[int, str], System]]:
    async with AsyncExitStack() as stack:

        def make(database: int, prefix: str) -> System:
            url = redis_url.removesuffix("/0") + f"/{database}"
            made = System(
                RedisReportStore(url, password=None, prefix=prefix, ttl_sec=300, timeout_sec=5.0),
                RedisReportReader(url, password=None, prefix=prefix, timeout_sec=5.0),
            )
            stack.push_async_callback(made.store.close)
            stack.push_async_callback(made.reader.close)
            return made

        yield make


@pytest.mark.parametrize("other", [(1, ""), (0, "test:"), (1, "test:")])
async def test_two_systems_in_one_server_neither_meet_nor_hear_each_other(
    system: Callable[[int, str], System], other: tuple[int, str]
) -> None:
    systems = system(0, ""), system(*other)
    changes, traces = ([anext_of(getattr(each.reader, name)()) for each in systems] for name in ("changes", "traces"))
    assert [await each() for each in changes] == ["", ""]
    words = [asyncio.ensure_future(each()) for each in traces]
    for each, epoch, symbol in zip(systems, (7, 3), ("MINE", "YOURS"), strict=True):
        await each.store.publish([Publication("SHARED", epoch, symbol.encode()), Publication(symbol, epoch, b"{}")])
    while not all(word.done() for word in words):  # who does not listen yet hears nothing
        for each, word in zip(systems, (b"mine", b"yours"), strict=True):
            await each.store.tell_trace(word)
        await asyncio.wait(words, timeout=0.05)

    assert [await each.store.read("SHARED") for each in systems] == [b"MINE", b"YOURS"]
    assert [await each.reader.symbols(10) for each in systems] == [["MINE", "SHARED"], ["SHARED", "YOURS"]]
    assert [await each.store.take_epochs({"SHARED": 0}) for each in systems] == [{"SHARED": 8}, {"SHARED": 4}]
    assert [[await hear(), await hear()] for hear in changes] == [["SHARED", "MINE"], ["SHARED", "YOURS"]]
    assert [word.result() for word in words] == [b"mine", b"yours"]


async def test_without_a_prefix_the_keys_are_those_of_the_contract(system: Callable[[int, str], System]) -> None:
    store = system(0, "").store
    await store.publish([Publication("BTCUSDT", 1, b"{}")])
    assert sorted(await store._redis.keys()) == [
        b"report:BTCUSDT",
        b"report:BTCUSDT:written",
        b"report:writer:token:BTCUSDT",
    ]


def anext_of[T](source: AsyncIterator[T]) -> Callable[[], "asyncio.Future[T]"]:
    async def take() -> T:
        return await anext(source)

    return lambda: asyncio.ensure_future(take())
