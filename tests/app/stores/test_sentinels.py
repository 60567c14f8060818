"""Stores behind real Sentinels: a master that dies, one that was replaced and does not know it, one that comes back."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from app.security.redis import redis_refusal
from app.settings import load
from app.stack.ports import LOOPBACK
from app.stack.redis import RedisServer, ServerTls
from app.stack.sentinel import MASTER, WatchedRedis
from app.stores.base import Publication, StoreUnavailableError
from app.stores.redis import RedisReportStore
from app.stores.redis_reader import RedisReportReader
from report_server.service import ReportService
from support.certificates import Authority
from support.readings import bodies
from support.servers import started
from support.workers import eventually

pytestmark = pytest.mark.stack


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[WatchedRedis]:
    servers = started(lambda: WatchedRedis(tmp_path))
    yield servers
    servers.stop()


@pytest.fixture
async def store(watched: WatchedRedis) -> AsyncIterator[RedisReportStore]:
    made = RedisReportStore(watched.url, password=None, ttl_sec=300, timeout_sec=0.5)
    yield made
    await made.close()


@pytest.fixture
async def reader(watched: WatchedRedis) -> AsyncIterator[RedisReportReader]:
    made = RedisReportReader(watched.url, password=None, timeout_sec=0.5)
    yield made
    await made.close()


async def at_work(watched: WatchedRedis, authority: Path | None = None) -> None:
    """Wait until the Sentinels know of each other and of the replica, and would replace the master."""

    async def know() -> bool:
        for each in watched.sentinels:
            async with connected(each.port, authority) as sentinel:
                state = await sentinel.sentinel_master(MASTER)
                if state["num-other-sentinels"] != 2 or state["num-slaves"] != len(watched.servers) - 1:
                    return False
        async with connected(watched.servers[1].port, authority) as replica:
            info = await replica.info("replication")
            return bool(info["master_link_status"] == "up")

    await eventually(know, "the Sentinels know all")


def connected(port: int, authority: Path | None = None) -> Any:
    tls: dict[str, Any] = {} if authority is None else {"ssl": True, "ssl_ca_certs": str(authority)}
    return Redis(host=LOOPBACK, port=port, **tls)


async def role(server: RedisServer, authority: Path | None = None) -> str:
    async with connected(server.port, authority) as client:
        return str((await client.role())[0].decode())


async def writes(store: RedisReportStore, epoch: int, body: bytes = b"{}") -> bool:
    try:
        return await store.publish([Publication("BTCUSDT", epoch, body)]) == [True]
    except StoreUnavailableError:
        return False


async def reads(reader: RedisReportReader, body: bytes) -> bool:
    """Whether it answers so; for a moment after a failover one that asks for the master may be told the old one."""
    try:
        found = await bodies(reader, ["BTCUSDT"])
    except StoreUnavailableError:
        return False
    assert found == {"BTCUSDT": body}
    return True


def report(epoch: int, offset: int, updated: int) -> bytes:
    order = {"writer": {"writerToken": epoch}, "provenance": {"offset": offset}, "updatedAt": updated}
    return json.dumps(order).encode()


async def token(store: RedisReportStore) -> bytes | None:
    client: Any = store._redis
    found: bytes | None = await client.get("report:writer:token:BTCUSDT")
    return found


async def test_who_had_the_master_goes_to_the_one_that_replaces_it_and_listeners_too(
    watched: WatchedRedis, store: RedisReportStore, reader: RedisReportReader
) -> None:
    await at_work(watched)
    changes = reader.changes()
    assert await anext(changes) == ""
    assert await store.take_epochs({"BTCUSDT": 0}) == {"BTCUSDT": 1}
    assert await writes(store, 1, b'{"a":1}')
    assert await anext(changes) == "BTCUSDT"

    watched.servers[0].kill()

    await eventually(partial(writes, store, 1, b'{"a":2}'), "reports are written again")
    assert await role(watched.servers[1]) == "master"
    await eventually(partial(reads, reader, b'{"a":2}'), "and read")
    assert await store.take_epochs({"BTCUSDT": 0}) == {"BTCUSDT": 2}
    await heard(changes, store)


@pytest.fixture
def watched_tls(tmp_path: Path) -> Iterator[tuple[WatchedRedis, Path]]:
    """Give servers and Sentinels that speak TLS alone, and the certificate of who issued theirs."""
    authority = Authority.in_folder(tmp_path)
    shown = authority.issue("redis")
    tls = ServerTls(shown.certificate, shown.key, authority.file)
    servers = started(lambda: WatchedRedis(tmp_path / "redis", tls=tls))
    yield servers, authority.file
    servers.stop()


async def test_over_tls_a_master_is_replaced_as_without_and_who_trusts_others_gets_no_word(
    watched_tls: tuple[WatchedRedis, Path], tmp_path: Path
) -> None:
    watched, authority = watched_tls
    options: dict[str, Any] = {"password": None, "ttl_sec": 300, "timeout_sec": 0.5}
    store = RedisReportStore(watched.url, ca_file=str(authority), **options)
    reader = RedisReportReader(watched.url, password=None, ca_file=str(authority), timeout_sec=0.5)
    misled = RedisReportStore(watched.url, ca_file=str(Authority(tmp_path, "stranger").file), **options)
    await at_work(watched, authority)
    assert await writes(store, 1, b'{"a":1}')

    watched.servers[0].kill()

    await eventually(partial(writes, store, 1, b'{"a":2}'), "reports are written again")
    assert await role(watched.servers[1], authority) == "master"
    await eventually(partial(reads, reader, b'{"a":2}'), "and read")
    with pytest.raises(StoreUnavailableError, match="certificate"):
        await misled.publish([Publication("BTCUSDT", 9, b"{}")])
    for each in (store, reader, misled):
        await each.close()


async def test_a_replaced_master_that_comes_back_is_nobodys_master(
    watched: WatchedRedis, store: RedisReportStore, reader: RedisReportReader
) -> None:
    await at_work(watched)
    assert await writes(store, 1, b'{"a":1}')
    os.kill(watched.servers[0].process.pid, signal.SIGSTOP)
    await eventually(partial(writes, store, 1, b'{"a":2}'), "reports are written again")
    os.kill(watched.servers[0].process.pid, signal.SIGCONT)

    async def is_replica() -> bool:
        assert await bodies(reader, ["BTCUSDT"]) == {"BTCUSDT": b'{"a":2}'}
        assert await writes(store, 1, b'{"a":2}')
        return await role(watched.servers[0]) == "slave"

    await eventually(is_replica, "the Sentinels make a replica of it")


async def test_a_master_that_was_replaced_and_lives_on_is_left(
    watched: WatchedRedis, store: RedisReportStore, reader: RedisReportReader
) -> None:
    await at_work(watched)
    changes = reader.changes()
    assert await anext(changes) == ""
    assert await writes(store, 1, b'{"a":1}')
    async with connected(watched.servers[0].port) as zombie:
        # It serves us on, and the Sentinels cannot tell it: their connections have a user of less rights.
        for rule in ("-ping", "-info", "-replicaof", "-slaveof", "-publish", "-subscribe"):
            await zombie.execute_command("ACL", "SETUSER", "default", rule)
        await zombie.execute_command("ACL", "SETUSER", "default", "-multi", "-exec", "-client|kill")

        async def moved() -> bool:
            await writes(store, 1, b'{"a":2}')
            async with connected(watched.servers[1].port) as other:
                return bool(
                    await other.get("report:BTCUSDT") == b'{"a":2}' and await role(watched.servers[1]) == "master"
                )

        await eventually(moved, "reports reach the new master")
        await zombie.set("report:BTCUSDT", b'{"a":"zombie"}')
        assert await role(watched.servers[0]) == "master"

        async def left() -> bool:
            return await bodies(reader, ["BTCUSDT"]) == {"BTCUSDT": b'{"a":2}'}

        await eventually(left, "the reader reads from the new master")
        for _ in range(50):
            assert await left()
    await heard(changes, store)


async def test_writes_that_a_failover_lost_are_missed_by_no_caller_and_by_no_epoch(
    watched: WatchedRedis, store: RedisReportStore, reader: RedisReportReader
) -> None:
    await at_work(watched)
    service = ReportService(reader, 1.0, 600_000)
    assert await store.take_epochs({"BTCUSDT": 4}) == {"BTCUSDT": 5}
    assert await writes(store, 5, report(5, 100, 1000))
    async with connected(watched.servers[1].port) as replica:
        await eventually(lambda: replica.exists("report:BTCUSDT"), "the replica has the report")
        # From here on the replica gets nothing: what is written now is lost with the master.
        os.kill(watched.servers[1].process.pid, signal.SIGSTOP)
        async with connected(watched.servers[0].port) as master:
            await master.client_kill_filter(_type="replica")
        assert await store.take_epochs({"BTCUSDT": 5}) == {"BTCUSDT": 6}
        assert await writes(store, 6, report(6, 120, 1200))
        assert (await service.get_report("BTCUSDT")).content["writer"] == {"writerToken": 6}
        watched.servers[0].kill()
        os.kill(watched.servers[1].process.pid, signal.SIGCONT)
        await eventually(lambda: is_master(watched.servers[1]), "the replica is promoted")

    seen = []

    async def answered() -> bool:
        answer = await service.get_report("BTCUSDT")
        if answer.content:
            seen.append(answer.content)
        return bool(answer.content)

    await eventually(answered, "the reader reads from the new master")
    assert await token(store) == b"5", "the promoted replica has the older epoch"
    # The writer that epoch 6 has fenced off is heard by this Redis; callers do not see it.
    assert await writes(store, 5, report(5, 110, 1100))
    await answered()
    # The owner writes on under its epoch, which this Redis takes over.
    assert await writes(store, 6, report(6, 121, 1210))
    assert await token(store) == b"6"
    assert not await writes(store, 5, report(5, 111, 1300))
    await answered()
    orders = [(each["writer"]["writerToken"], each["provenance"]["offset"], each["updatedAt"]) for each in seen]
    assert orders == sorted(orders)
    assert orders[0] == (6, 120, 1200)
    assert orders[-1] == (6, 121, 1210)
    await service.close()


async def heard(changes: AsyncIterator[str], store: RedisReportStore) -> None:
    """Wait until listeners hear of what is written."""

    async def listen() -> None:
        while await anext(changes) != "BTCUSDT":
            pass

    async with asyncio.timeout(20):
        task = asyncio.create_task(listen())
        while not task.done():
            await writes(store, 9)
            await asyncio.wait([task], timeout=0.05)
    await task


async def is_master(server: RedisServer) -> bool:
    return await role(server) == "master"


@pytest.mark.parametrize("silent", [1, 2])
async def test_sentinels_that_are_away_or_hang_are_no_matter_while_one_answers(
    watched: WatchedRedis, store: RedisReportStore, silent: int
) -> None:
    for each in watched.sentinels[:silent]:
        os.kill(each.process.pid, signal.SIGSTOP)
    try:
        assert await writes(store, 1)
    finally:
        for each in watched.sentinels[:silent]:
            os.kill(each.process.pid, signal.SIGCONT)


async def test_without_any_sentinel_what_is_connected_stays_and_others_are_told_why(
    watched: WatchedRedis, store: RedisReportStore
) -> None:
    assert await writes(store, 1)
    for each in watched.sentinels:
        each.process.kill()
    late = RedisReportStore(watched.url, password=None, ttl_sec=300, timeout_sec=0.5)
    for _ in range(5):
        await asyncio.sleep(0.1)  # longer than the time after which Sentinels are asked again
        assert await writes(store, 1)
    with pytest.raises(StoreUnavailableError, match=f"no Sentinel names the master '{MASTER}'") as refused:
        await late.publish([Publication("BTCUSDT", 1, b"{}")])
    assert refused.value.kind == "no_master"
    await late.close()


@pytest.mark.parametrize(
    ("change", "kind", "line"),
    [
        (lambda url: url.replace(MASTER, "nobody"), "no_master", "'nobody': one does not know it"),
        (lambda url: url.replace("+sentinel", "").split(",")[0] + "/0", "sentinel", "this is a Sentinel and no Redis"),
    ],
    ids=["another name", "a Sentinel as Redis"],
)
async def test_a_url_that_leads_nowhere_says_so(
    watched: WatchedRedis, change: Callable[[str], str], kind: str, line: str
) -> None:
    store = RedisReportStore(change(watched.url), password=None, ttl_sec=300, timeout_sec=0.5)
    with pytest.raises(StoreUnavailableError, match=line) as refused:
        await store.take_epochs({"BTCUSDT": 0})
    assert refused.value.kind == kind
    await store.close()


async def test_sentinels_may_want_a_password_of_their_own(watched: WatchedRedis, tmp_path: Path) -> None:
    for each in watched.sentinels:
        async with connected(each.port) as sentinel:
            await sentinel.execute_command("SENTINEL CONFIG SET", "sentinel-pass", "watch-word")  # of each other
            await sentinel.execute_command("ACL", "SETUSER", "default", "resetpass", ">watch-word")
    file = tmp_path / "word"
    file.write_text("watch-word\n", encoding="utf-8")
    right = load({"REDIS_URL": watched.url, "REDIS_SENTINEL_PASSWORD_FILE": str(file)}, None)
    store = RedisReportStore(
        right.redis_url, password=None, sentinel_password=right.redis_sentinel_password, ttl_sec=9, timeout_sec=0.5
    )
    assert await writes(store, 1)
    await store.close()
    assert await asyncio.to_thread(redis_refusal, right, writes=True) is None
    without = RedisReportStore(watched.url, password=None, ttl_sec=9, timeout_sec=0.5)
    with pytest.raises(StoreUnavailableError, match="no Sentinel names the master"):
        await without.read("BTCUSDT")
    await without.close()
