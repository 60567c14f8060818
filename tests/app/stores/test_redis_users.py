"""The users of deploy/redis-users.acl on the real server: they can do their work and nothing else."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

from app.stores.base import Publication, StoreUnavailableError
from app.stores.clock import StoreClock
from app.stores.redis import RedisReportStore
from app.stores.redis_reader import RedisReportReader
from support.readings import bodies

HOUR_NS = 3600 * 10**9
USERS = (Path(__file__).parents[3] / "deploy" / "redis-users.acl").read_text(encoding="utf-8").splitlines()


@pytest.fixture
async def users(redis_url: str) -> AsyncIterator[Callable[[str], str]]:
    """Load the users, but for `default`, whom the other tests need; give the address of the server for each."""
    admin: Any = Redis.from_url(redis_url)
    async with admin:
        for line in USERS:
            if line.startswith("user ") and "default" not in line:
                await admin.execute_command("ACL", "SETUSER", *line.split()[1:])
        passwords = {"reader": "CHANGE-THE-READER-PASSWORD", "worker": "CHANGE-THE-WORKER-PASSWORD"}
        yield lambda name: redis_url.replace("redis://", f"redis://{name}:{passwords[name]}@")
        await admin.execute_command("ACL", "DELUSER", *passwords)


async def test_worker_and_reader_can_do_their_work(users: Callable[[str], str]) -> None:
    store = RedisReportStore(users("worker"), password=None, ttl_sec=300, timeout_sec=5.0)
    reader = RedisReportReader(users("reader"), password=None, timeout_sec=5.0)
    changes = reader.changes()

    assert await anext(changes) == ""
    epochs = await store.take_epochs({"BTCUSDT": 0})
    giant = b'{"depth":"' + b"x" * 300_000 + b'"}'
    assert await store.publish([Publication("BTCUSDT", epochs["BTCUSDT"], giant)]) == [True]

    assert await anext(changes) == "BTCUSDT"
    assert await bodies(reader, ["BTCUSDT", "NOSUCH"]) == {"BTCUSDT": giant, "NOSUCH": None}
    assert await reader.symbols(10) == ["BTCUSDT"]
    await changes.aclose()  # type: ignore[attr-defined] # an async generator behind its protocol
    await reader.close()
    await store.close()


async def test_a_worker_may_tell_readers_of_a_trace(users: Callable[[str], str]) -> None:
    store = RedisReportStore(users("worker"), password=None, ttl_sec=300, timeout_sec=5.0)
    reader = RedisReportReader(users("reader"), password=None, timeout_sec=5.0)
    words = reader.traces()

    async def next_word() -> bytes:
        return await anext(words)

    heard = asyncio.create_task(next_word())
    while not heard.done():  # who does not listen yet hears nothing
        await store.tell_trace(b"word")
        await asyncio.wait([heard], timeout=0.05)
    assert heard.result() == b"word"
    await words.aclose()  # type: ignore[attr-defined] # an async generator behind its protocol
    await reader.close()
    await store.close()


@pytest.mark.parametrize(
    "command",
    [
        *(("SET", "report:BTCUSDT", "x"), ("DEL", "report:BTCUSDT"), ("EXPIRE", "report:BTCUSDT", 1)),
        *(("PUBLISH", "report:changes", "BTCUSDT"), ("EVAL", "return 1", 0), ("SCRIPT", "FLUSH"), ("FLUSHALL",)),
        *(("CONFIG", "GET", "*"), ("KEYS", "*"), ("MGET", "other"), ("SUBSCRIBE", "other"), ("ACL", "LIST")),
        *(("CLIENT", "LIST"), ("MONITOR",), ("SHUTDOWN",), ("INCR", "report:writer:token:A")),
    ],
    ids=lambda command: " ".join(map(str, command[:2])),
)
async def test_the_reader_can_do_nothing_else(users: Callable[[str], str], command: tuple[Any, ...]) -> None:
    client: Any = Redis.from_url(users("reader"))
    async with client:
        with pytest.raises(NoPermissionError):
            await client.execute_command(*command)


@pytest.mark.parametrize("command", [("FLUSHALL",), ("CONFIG", "GET", "*"), ("SET", "other", "x"), ("KEYS", "*")])
async def test_a_worker_can_neither_empty_the_server_nor_leave_its_keys(
    users: Callable[[str], str], command: tuple[str, ...]
) -> None:
    client: Any = Redis.from_url(users("worker"))
    async with client:
        with pytest.raises(NoPermissionError):
            await client.execute_command(*command)


async def test_a_worker_without_rights_to_the_channel_still_writes(users: Callable[[str], str], redis_url: str) -> None:
    admin: Any = Redis.from_url(redis_url)
    async with admin:
        await admin.execute_command("ACL", "SETUSER", "worker", "resetchannels", "-publish")
    store = RedisReportStore(users("worker"), password=None, ttl_sec=300, timeout_sec=5.0)

    assert await store.publish([Publication("BTCUSDT", 1, b"{}")]) == [True]
    assert await store.read("BTCUSDT") == b"{}"
    await store.close()


@pytest.mark.parametrize("may_ask", [True, False], ids=["with TIME", "without"])
async def test_a_worker_dates_by_the_servers_clock_if_it_may_ask_for_it(
    users: Callable[[str], str], redis_url: str, may_ask: bool
) -> None:
    if not may_ask:
        admin: Any = Redis.from_url(redis_url)
        async with admin:
            await admin.execute_command("ACL", "SETUSER", "worker", "-time")
    for write in ("epoch", "report"):
        store = RedisReportStore(users("worker"), password=None, ttl_sec=300, timeout_sec=5.0)
        store.clock = StoreClock(wall_ns=lambda: time.time_ns() + HOUR_NS)
        if write == "epoch":
            assert await store.take_epochs({"BTCUSDT": 0}) == {"BTCUSDT": 1}
        else:
            assert await store.publish([Publication("BTCUSDT", 1, b"{}"), Publication("BTCUSDT", 0, b"")]) == [
                True,
                False,
            ]
        off_ns = store.clock.now_ns() - time.time_ns()
        assert abs(off_ns - (0 if may_ask else HOUR_NS)) < HOUR_NS / 100
        await store.close()


async def test_a_wrong_password_is_a_store_that_refuses(users: Callable[[str], str]) -> None:
    reader = RedisReportReader(users("reader").replace("CHANGE", "GUESS"), password=None, timeout_sec=5.0)

    with pytest.raises(StoreUnavailableError):
        await bodies(reader, ["BTCUSDT"])
    await reader.close()
