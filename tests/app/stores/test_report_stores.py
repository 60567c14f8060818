"""One behaviour suite for every report store."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.stores.base import EPOCH_LIMIT, Publication, ReportStore, StoreUnavailableError
from app.stores.memory import MemoryReportStore
from app.stores.redis import RedisReportStore

TTL_SEC = 300


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[ReportStore]:
    made: ReportStore
    if request.param == "memory":
        made = MemoryReportStore(TTL_SEC, now=lambda: 0.0)
    else:
        url = request.getfixturevalue("redis_url")
        made = RedisReportStore(url, password=None, ttl_sec=TTL_SEC, timeout_sec=5.0)
        await made._redis.flushdb()
    yield made
    await made.close()


async def take(store: ReportStore, symbol: str = "BTCUSDT", above: int = 0) -> int:
    return (await store.take_epochs({symbol: above}))[symbol]


async def test_epochs_rise_by_one_from_one(store: ReportStore) -> None:
    assert [await take(store) for _ in range(3)] == [1, 2, 3]
    assert await take(store, "ETHUSDT") == 1


async def test_an_epoch_is_above_what_the_table_knows(store: ReportStore) -> None:
    assert await take(store, above=41) == 42
    assert await take(store, above=7) == 43


async def test_epochs_beyond_what_a_double_can_count_stay_exact(store: ReportStore) -> None:
    assert await take(store, above=2**53) == 2**53 + 1
    assert await take(store, above=2**53) == 2**53 + 2
    assert await take(store, above=2**62) == 2**62 + 1


async def test_an_epoch_at_the_limit_is_not_given(store: ReportStore) -> None:
    answers = await store.take_epochs({"BTCUSDT": EPOCH_LIMIT - 1, "ETHUSDT": EPOCH_LIMIT, "BNBUSDT": 5})
    assert answers == {"BTCUSDT": EPOCH_LIMIT, "BNBUSDT": 6}
    assert await store.take_epochs({"BTCUSDT": 0}) == {}


async def test_a_report_can_be_read_back_unchanged(store: ReportStore) -> None:
    epoch = await take(store)
    assert await store.publish([Publication("BTCUSDT", epoch, b'{"a": 1}')]) == [True]
    assert await store.read("BTCUSDT") == b'{"a": 1}'
    assert await store.read("ETHUSDT") is None


async def test_reports_of_any_number_of_symbols_are_read_at_once(store: ReportStore) -> None:
    names = [f"S{number}" for number in range(350)]
    await store.publish([Publication(name, 1, name.encode()) for name in names])
    giant = b'{"symbol":"GIANT","depth":"' + b"x" * 300_000 + b'"}'
    await store.publish([Publication("GIANT", 1, giant)])
    expected = {name: name.encode() for name in names} | {"NONE": None, "GIANT": giant}

    # As many questions at the same time as a pool has connections: one that took a connection a symbol would fail.
    answers = await asyncio.gather(*(store.read_many(["NONE", *reversed(names), "GIANT"]) for _ in range(5)))

    assert answers == [expected] * 5
    assert await store.read_many([]) == {}


async def test_an_older_epoch_is_refused_and_changes_nothing(store: ReportStore) -> None:
    old = await take(store)
    new = await take(store)
    assert await store.publish([Publication("BTCUSDT", new, b"new")]) == [True]
    assert await store.publish([Publication("BTCUSDT", old, b"old")]) == [False]
    assert await store.read("BTCUSDT") == b"new"


async def test_taking_an_epoch_alone_already_shuts_the_older_writer_out(store: ReportStore) -> None:
    old = await take(store)
    await take(store)
    assert await store.publish([Publication("BTCUSDT", old, b"old")]) == [False]
    assert await store.read("BTCUSDT") is None


async def test_a_store_that_forgot_takes_the_writers_epoch_over(store: ReportStore) -> None:
    assert await store.publish([Publication("BTCUSDT", 9, b"mine")]) == [True]
    assert await store.publish([Publication("BTCUSDT", 8, b"older")]) == [False]
    assert await take(store) == 10


async def test_each_publication_of_a_batch_is_judged_by_itself(store: ReportStore) -> None:
    await store.take_epochs({"BTCUSDT": 4, "ETHUSDT": 4})
    batch = [
        Publication("BTCUSDT", 4, b"stale"),
        Publication("ETHUSDT", 5, b"good"),
        Publication("X2", 1, b"new"),
    ]
    assert await store.publish(batch) == [False, True, True]
    assert await store.publish([]) == []


async def test_epochs_are_compared_as_numbers_not_as_text(store: ReportStore) -> None:
    await store.publish([Publication("BTCUSDT", 10, b"ten")])
    assert await store.publish([Publication("BTCUSDT", 9, b"nine")]) == [False]


async def test_a_forgotten_report_is_gone_and_its_epoch_goes_on_rising(store: ReportStore) -> None:
    epochs = await store.take_epochs({"BTCUSDT": 0, "ETHUSDT": 6})
    await store.publish([Publication(name, epoch, b"{}") for name, epoch in epochs.items()])
    assert await store.forget({"BTCUSDT": 1, "NONE": 1}) == {"BTCUSDT", "NONE"}
    assert await store.read_many(["BTCUSDT", "ETHUSDT"]) == {"BTCUSDT": None, "ETHUSDT": b"{}"}
    assert await store.take_epochs({"BTCUSDT": 0}) == {"BTCUSDT": 2}


async def test_a_report_of_a_newer_writer_is_not_forgotten(store: ReportStore) -> None:
    await store.take_epochs({"BTCUSDT": 9})
    await store.publish([Publication("BTCUSDT", 10, b"{}")])
    assert await store.forget({"BTCUSDT": 9}) == set()
    assert await store.read("BTCUSDT") == b"{}"


async def test_a_giant_report_is_split_and_put_back_together_unchanged(redis_url: str) -> None:
    store = RedisReportStore(redis_url, password=None, ttl_sec=TTL_SEC, timeout_sec=5.0)
    giant = b'{"symbol":"BTCUSDT","depth":{"top_bids":[' + b"1," * 150_000 + b'1]},"anomalies":[],"health":{}}'
    assert await store.publish([Publication("BTCUSDT", 1, giant)]) == [True]
    assert await store._redis.strlen("report:BTCUSDT") < 200
    assert await store._redis.pttl("report:BTCUSDT:heavy") > 0
    assert await store.read("BTCUSDT") == giant
    await store.publish([Publication("BTCUSDT", 1, b'{"small":1}')])
    assert await store.read("BTCUSDT") == b'{"small":1}'
    assert await store._redis.exists("report:BTCUSDT:heavy") == 0
    await store.close()


async def test_a_split_report_that_lost_its_heavy_part_is_no_report(redis_url: str) -> None:
    store = RedisReportStore(redis_url, password=None, ttl_sec=TTL_SEC, timeout_sec=5.0)
    giant = b'{"symbol":"BTCUSDT","depth":"' + b"x" * 300_000 + b'"}'
    await store.publish([Publication("BTCUSDT", 1, giant)])
    await store._redis.delete("report:BTCUSDT:heavy")
    assert await store.read("BTCUSDT") is None
    await store.close()


async def test_an_expired_report_is_gone_in_memory() -> None:
    clock = [0.0]
    store = MemoryReportStore(TTL_SEC, now=lambda: clock[0])
    await store.publish([Publication("BTCUSDT", 1, b"x")])
    clock[0] = TTL_SEC
    assert await store.read("BTCUSDT") is None


async def test_reports_expire_in_redis_and_epochs_do_not(redis_url: str) -> None:
    store = RedisReportStore(redis_url, password=None, ttl_sec=TTL_SEC, timeout_sec=5.0)
    await store.publish([Publication("BTCUSDT", 1, b"x")])
    assert 0 < await store._redis.pttl("report:BTCUSDT") <= TTL_SEC * 1000
    assert await store._redis.pttl("report:writer:token:BTCUSDT") == -1
    await store.close()


async def test_the_epoch_of_a_forgotten_symbol_expires_in_redis_unless_it_is_taken_again(redis_url: str) -> None:
    store = RedisReportStore(redis_url, password=None, ttl_sec=TTL_SEC, timeout_sec=5.0)
    epoch = await take(store)
    await store.publish([Publication("BTCUSDT", epoch, b'{"depth":"' + b"x" * 300_000 + b'"}')])
    await store.forget({"BTCUSDT": epoch})
    assert await store._redis.keys("report:BTCUSDT*") == []
    assert 86_000 < await store._redis.ttl("report:writer:token:BTCUSDT") <= 86_400
    assert await take(store) == epoch + 1
    assert await store._redis.ttl("report:writer:token:BTCUSDT") == -1
    await store.close()


async def test_a_redis_that_forgot_the_scripts_is_given_them_again(redis_url: str) -> None:
    store = RedisReportStore(redis_url, password=None, ttl_sec=TTL_SEC, timeout_sec=5.0)
    await store._redis.flushdb()
    epoch = await take(store)
    await store._redis.script_flush()
    assert await store.publish([Publication("BTCUSDT", epoch, b"x")]) == [True]
    await store._redis.script_flush()
    assert await take(store) == epoch + 1
    await store.close()


async def test_a_redis_that_is_away_is_named_at_once() -> None:
    store = RedisReportStore("redis://127.0.0.1:1/0", password=None, ttl_sec=TTL_SEC, timeout_sec=0.2)
    for call in (
        store.read("BTCUSDT"),
        store.take_epochs({"BTCUSDT": 0}),
        store.publish([Publication("BTCUSDT", 1, b"x")]),
    ):
        with pytest.raises(StoreUnavailableError, match="Redis is away or refuses"):
            await asyncio.wait_for(call, 2)
    await store.close()
