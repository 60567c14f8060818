"""What keeps a Redis from taking or giving reports: each is one true line, and over when it is over."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from app.doctor.redis_checks import redis_findings
from app.security.redis import redis_refusal
from app.settings import Settings, load
from app.stack.ports import LOOPBACK, free_ports
from app.stack.redis import RedisServer
from app.stores.base import Publication, StoreUnavailableError
from app.stores.redis import RedisReportStore
from app.stores.redis_reader import RedisReportReader
from support.faults import FaultProxy
from support.readings import bodies
from support.servers import started
from support.workers import eventually

REPORT = [Publication("BTCUSDT", 1, b"{}")]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    made = started(lambda: RedisServer(tmp_path))
    yield made
    made.stop()


@pytest.fixture
async def store_of() -> AsyncIterator[Callable[..., RedisReportStore]]:
    async with AsyncExitStack() as stack:

        def make(url: str, **how: Any) -> RedisReportStore:
            store = RedisReportStore(url, **{"password": None, "ttl_sec": 300, "timeout_sec": 1.0} | how)
            stack.push_async_callback(store.close)
            return store

        yield make


def admin(server: RedisServer) -> Any:
    return Redis(host=LOOPBACK, port=server.port)


async def trouble_of(store: RedisReportStore) -> tuple[str, str]:
    with pytest.raises(StoreUnavailableError) as refused:
        await store.publish(REPORT)
    assert store.problem == str(refused.value)
    assert "\n" not in str(refused.value)
    return refused.value.kind, str(refused.value)


async def is_over(store: RedisReportStore) -> None:
    async def written() -> bool:
        try:
            return await store.publish(REPORT) == [True]
        except StoreUnavailableError:
            return False

    await eventually(written, "reports are written again")
    assert store.problem is None


async def test_a_redis_that_is_out_of_memory(server: RedisServer, store_of: Callable[..., RedisReportStore]) -> None:
    store = store_of(server.url)
    async with admin(server) as client:
        await client.config_set("maxmemory", 1)
        assert await trouble_of(store) == (
            "out_of_memory",
            "Redis is out of memory: raise its maxmemory, or remove what else is in it",
        )
        with pytest.raises(StoreUnavailableError, match="out of memory"):
            await store.take_epochs({"BTCUSDT": 0})
        await client.config_set("maxmemory", 0)
    await is_over(store)


async def test_a_redis_that_takes_no_more_connections(
    server: RedisServer, store_of: Callable[..., RedisReportStore]
) -> None:
    store = store_of(server.url)
    async with admin(server) as client:
        await client.config_set("maxclients", 1)
        kind, line = await trouble_of(store)
        assert (kind, line[:34]) == ("too_many_clients", "Redis takes no more connections: r")
        await client.config_set("maxclients", 1000)
    await is_over(store)


async def test_a_redis_that_refuses_writes_for_want_of_replicas(
    server: RedisServer, store_of: Callable[..., RedisReportStore]
) -> None:
    store = store_of(server.url)
    async with admin(server) as client:
        await client.config_set("min-replicas-to-write", 1)
        kind, line = await trouble_of(store)
        assert (kind, line) == (
            "writes_refused",
            "Redis refuses writes: NOREPLICAS Not enough good replicas to write.",
        )
        await client.config_set("min-replicas-to-write", 0)
    await is_over(store)


async def test_a_master_that_becomes_a_replica_is_left_for_the_new_one_behind_the_same_address(
    server: RedisServer, store_of: Callable[..., RedisReportStore], tmp_path: Path
) -> None:
    with FaultProxy(server.port) as way, RedisServer(tmp_path / "other") as other:
        store = store_of(f"redis://{LOOPBACK}:{way.port}/0")
        assert await store.publish(REPORT) == [True]
        async with admin(server) as client:
            await client.replicaof(LOOPBACK, str(other.port))
        kind, line = await trouble_of(store)
        assert (kind, line[:18]) == ("replica", "Redis is a replica")
        # New connections go to the new master, those that stand stay where they are: so do most proxies.
        way._upstream = other.port
        await is_over(store)
        async with admin(other) as client:
            assert await client.get("report:BTCUSDT") == b"{}"


async def test_a_replica_is_refused_at_the_start_and_readers_may_use_it(server: RedisServer, tmp_path: Path) -> None:
    with RedisServer(tmp_path / "replica", options={"replicaof": f"{LOOPBACK} {server.port}"}) as replica:
        config = Settings(redis_url=replica.url)
        line = (
            f"REDIS_URL: {LOOPBACK}:{replica.port}: Redis is a replica, which takes no reports: "
            "REDIS_URL must lead to the master"
        )
        assert await asyncio.to_thread(redis_refusal, config, writes=True) == line
        assert await asyncio.to_thread(redis_refusal, config, writes=False) is None
        (finding,) = [each async for each in redis_findings(config, writes=True, reads=False)]
        assert (finding.status, finding.found, finding.advice) == ("error", "refuses us", line)


async def test_a_redis_in_cluster_mode_is_refused_in_one_line(
    tmp_path: Path, store_of: Callable[..., RedisReportStore]
) -> None:
    # By default that is 10,000 above the port, which may be beyond the last one.
    (bus_port,) = free_ports(1)
    options = {"cluster-enabled": "yes", "cluster-port": str(bus_port)}
    made = started(lambda: RedisServer(tmp_path, options=options))
    try:
        async with admin(made) as client:
            await client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)

            async def up() -> bool:
                state: dict[str, str] = await client.execute_command("CLUSTER INFO")
                return state["cluster_state"] == "ok"

            await eventually(up, "the cluster is up")
        config = Settings(redis_url=made.url)
        said = "Redis is in cluster mode, which context8 does not work with: use one Redis, alone or behind Sentinels"
        for writes in (True, False):
            line = await asyncio.to_thread(redis_refusal, config, writes=writes)
            assert line == f"REDIS_URL: {LOOPBACK}:{made.port}: {said}"
            (finding,) = [each async for each in redis_findings(config, writes=writes, reads=not writes)]
            assert (finding.status, finding.advice) == ("error", line)
        assert await trouble_of(store_of(made.url)) == ("cluster", said)
        reader = RedisReportReader(made.url, password=None, timeout_sec=1.0)
        with pytest.raises(StoreUnavailableError, match="cluster mode"):
            await bodies(reader, ["BTCUSDT"])
        await reader.close()
    finally:
        made.stop()


async def test_a_password_file_that_is_rotated_is_read_again(
    server: RedisServer, store_of: Callable[..., RedisReportStore], tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text("first-word\n", encoding="utf-8")
    async with admin(server) as client:
        await client.execute_command("ACL", "SETUSER", "app", "on", "allkeys", "allchannels", "+@all", ">first-word")
        config = load(
            {"REDIS_URL": server.url.replace("//", "//app@"), "REDIS_PASSWORD_FILE": str(file)},
            None,
        )
        store = store_of(config.redis_url, password=config.redis_password)
        reader = RedisReportReader(config.redis_url, password=config.redis_password, timeout_sec=1.0)
        assert await store.publish(REPORT) == [True]
        assert await bodies(reader, ["BTCUSDT"]) == {"BTCUSDT": b"{}"}

        await client.execute_command("ACL", "SETUSER", "app", "resetpass", ">second-word")
        await client.client_kill_filter(_type="normal", skipme=True)

        async def refused() -> bool:
            kind, line = await trouble_of(store)
            return kind == "access" and line.startswith("Redis refuses our user or its password: check REDIS_URL")

        await eventually(refused, "Redis asks again who we are")
        with pytest.raises(StoreUnavailableError, match="refuses our user"):
            await bodies(reader, ["BTCUSDT"])

        file.write_text("", encoding="utf-8")  # in the middle of being written
        await trouble_of(store)
        file.write_text("second-word\n", encoding="utf-8")
        await is_over(store)
        assert await bodies(reader, ["BTCUSDT"]) == {"BTCUSDT": b"{}"}
        await reader.close()
