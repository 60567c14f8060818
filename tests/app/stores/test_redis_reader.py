"""What a reader reads of a real Redis: reports, and how long ago they were written by the server's clock."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from app.stores.base import Publication, Reading, StoreUnavailableError
from app.stores.redis import RedisReportStore
from app.stores.redis_reader import RedisReportReader

GIANT = b'{"symbol":"BTCUSDT","depth":"' + b"x" * 300_000 + b'"}'
# What wrote reports before the server's time was noted with them.
OLD_SCRIPT = """
redis.call('SET', KEYS[1], ARGV[1])
redis.call('SET', KEYS[2], ARGV[2], 'PX', 300000)
redis.call('DEL', KEYS[3])
return 1
"""


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[RedisReportStore]:
    made = RedisReportStore(redis_url, password=None, ttl_sec=300, timeout_sec=5.0)
    await made._redis.flushdb()
    yield made
    await made.close()


@pytest.fixture
async def reader(redis_url: str) -> AsyncIterator[RedisReportReader]:
    made = RedisReportReader(redis_url, password=None, timeout_sec=5.0)
    yield made
    await made.close()


async def reading(reader: RedisReportReader) -> Reading:
    found = (await reader.readings(["BTCUSDT"]))["BTCUSDT"]
    assert found is not None
    return found


def age_ms(found: Reading) -> int:
    assert found.store_ms is not None
    assert found.written_ms is not None
    return found.store_ms - found.written_ms


@pytest.mark.parametrize("body", [b'{"a":1}', GIANT], ids=["whole", "split"])
async def test_a_report_comes_with_the_servers_times(
    store: RedisReportStore, reader: RedisReportReader, body: bytes
) -> None:
    await store.publish([Publication("BTCUSDT", 2**63 - 1001, body)])
    loop = asyncio.get_running_loop()
    began = loop.time()
    first = await reading(reader)
    await asyncio.sleep(0.2)
    second = await reading(reader)
    took_ms = (loop.time() - began) * 1000

    assert (first.body, first.epoch) == (body, 2**63 - 1001)
    assert second.written_ms == first.written_ms
    assert 0 <= age_ms(first) <= age_ms(second) - 199
    assert age_ms(second) - age_ms(first) <= took_ms + 1
    await store.publish([Publication("BTCUSDT", 2**63 - 1001, body)])
    assert age_ms(await reading(reader)) < 200, "it was written again"


async def test_the_time_of_writing_expires_with_the_report(store: RedisReportStore) -> None:
    await store.publish([Publication("BTCUSDT", 1, b"{}")])
    left = [await store._redis.pexpiretime(f"report:BTCUSDT{part}") for part in ("", ":written")]
    assert left[0] == left[1] > 0


async def test_the_list_of_symbols_is_that_of_the_reports(store: RedisReportStore, reader: RedisReportReader) -> None:
    await store.publish([Publication(name, 1, b"{}") for name in ("BTCUSDT", "ETHUSDT")])
    assert await reader.symbols(10) == ["BTCUSDT", "ETHUSDT"]


async def test_a_time_that_an_older_version_left_standing_is_known_by_its_epoch(
    store: RedisReportStore, reader: RedisReportReader
) -> None:
    await store.publish([Publication("BTCUSDT", 4, b'{"by":"new"}')])
    keys = ["report:writer:token:BTCUSDT", "report:BTCUSDT", "report:BTCUSDT:heavy"]
    await store._redis.eval(OLD_SCRIPT, 3, *keys, 5, b'{"by":"old"}')

    found = await reading(reader)

    assert (found.body, found.epoch) == (b'{"by":"old"}', 4)


@pytest.mark.parametrize("noted", [b"", b"x", b"12", b"12 -1", b"12 1 1", b"9" * 40 + b" 1"])
async def test_a_time_that_is_none_is_no_time(store: RedisReportStore, reader: RedisReportReader, noted: bytes) -> None:
    await store.publish([Publication("BTCUSDT", 1, b"{}")])
    await store._redis.set("report:BTCUSDT:written", noted)

    found = await reading(reader)

    assert (found.body, found.written_ms, found.epoch) == (b"{}", None, None)


@pytest.mark.parametrize("who", ["worker", "reader"])
async def test_a_user_without_the_right_to_time_works_without_it(redis_url: str, who: str) -> None:
    admin: Any = Redis.from_url(redis_url)
    async with admin:
        await admin.execute_command(
            "ACL", "SETUSER", "untimed", "on", ">word", "allkeys", "allchannels", "+@all", "-time"
        )
        untimed = redis_url.replace("redis://", "redis://untimed:word@")
        urls = {"worker": redis_url, "reader": redis_url} | {who: untimed}
        store = RedisReportStore(urls["worker"], password=None, ttl_sec=300, timeout_sec=5.0)
        reader = RedisReportReader(urls["reader"], password=None, timeout_sec=5.0)
        await admin.set("report:BTCUSDT:written", b"5 1")

        assert await store.publish([Publication("BTCUSDT", 1, b"{}")]) == [True]
        found = await reading(reader)

        assert found.body == b"{}"
        assert (found.written_ms is None, found.store_ms is None) == (who == "worker", who == "reader")
        await reader.close()
        await store.close()
        await admin.execute_command("ACL", "DELUSER", "untimed")


async def test_reports_and_the_time_are_one_round_trip(redis_url: str, store: RedisReportStore) -> None:
    """What is sent leaves in one piece; the server is asked once."""
    await store.publish([Publication(name, 1, b"{}") for name in ("BTCUSDT", "ETHUSDT")])
    sent: list[bytes] = []
    port = int(redis_url.rsplit(":", 1)[1].split("/")[0])

    async def serve(client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", port)

        async def ask() -> None:
            while data := await client.read(65_536):
                sent.append(data)
                to_server.write(data)

        async def answer() -> None:
            while data := await from_server.read(65_536):
                answers.write(data)

        asking = asyncio.ensure_future(answer())
        await ask()
        asking.cancel()
        to_server.close()
        answers.close()

    proxy = await asyncio.start_server(serve, "127.0.0.1", 0)
    reader = RedisReportReader(
        f"redis://127.0.0.1:{proxy.sockets[0].getsockname()[1]}/0", password=None, timeout_sec=5.0
    )
    await reader.readings(["BTCUSDT"])  # the connection is made
    sent.clear()
    assert len(await reader.readings(["BTCUSDT", "ETHUSDT"])) == 2
    assert len(sent) == 1
    await reader.close()
    proxy.close()


async def test_a_refusal_leaves_no_answer_over_for_the_next_question(redis_url: str) -> None:
    admin: Any = Redis.from_url(redis_url)
    async with admin:
        await admin.execute_command("ACL", "SETUSER", "narrow", "on", ">word", "~report:AAA*", "&*", "+@all")
        store = RedisReportStore(redis_url, password=None, ttl_sec=300, timeout_sec=5.0)
        await store.publish([Publication("AAA", 1, b'{"a":1}')])
        reader = RedisReportReader(
            redis_url.replace("redis://", "redis://narrow:word@"), password=None, timeout_sec=5.0
        )
        for _ in range(3):
            with pytest.raises(StoreUnavailableError, match="lacks a right"):
                await reader.readings(["BBB"])
            found = (await reader.readings(["AAA"]))["AAA"]
            assert found is not None
            assert (found.body, found.written_ms is None) == (b'{"a":1}', False)
        await reader.close()
        await store.close()
        await admin.execute_command("ACL", "DELUSER", "narrow")


async def test_a_reader_that_is_cancelled_in_a_read_leaves_no_answer_over(
    store: RedisReportStore, reader: RedisReportReader
) -> None:
    await store.publish([Publication(name, 1, name.encode()) for name in ("AAA", "BBB")])
    for turns in range(50):
        given_up = asyncio.ensure_future(reader.readings(["AAA"]))
        for _ in range(turns % 5):
            await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.wait([given_up])
        found = (await reader.readings(["BBB"]))["BBB"]
        assert found is not None
        assert found.body == b"BBB"
