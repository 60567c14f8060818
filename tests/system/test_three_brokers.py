"""Three brokers as people run them: one of them goes, or cannot be reached from the beginning."""

import asyncio
import logging
from collections.abc import Iterator

import msgspec
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from app import cli, topics
from app.copies import Copies
from app.doctor.findings import Finding
from app.doctor.kafka_checks import kafka_findings
from app.preflight import session_problem
from app.settings import Settings
from app.stack.kafka_cluster import KafkaCluster
from app.stack.ports import free_ports
from producer.metrics import Metrics
from producer.publisher import Publisher
from producer.wire import Kind
from support.faults import FaultProxy
from support.servers import started
from support.workers import Deployment, eventually

pytestmark = pytest.mark.stack

# aiokafka tries the addresses in an order of its own, each time another.
ASKED_OFTEN = 2


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """Give three brokers of this module's own; all run when a test begins."""
    own = started(lambda: KafkaCluster(tmp_path_factory.mktemp("cluster")))
    yield own
    own.kill()


@pytest.fixture
def config(cluster: KafkaCluster, topic_prefix: str, redis_url: str) -> Settings:
    cluster.start()
    return Settings(
        kafka_brokers=cluster.bootstrap,
        redis_url=redis_url,
        events_topic=f"{topic_prefix}.events",
        worker_group=topic_prefix,
        events_partitions=4,
    )


async def found(config: Settings) -> dict[str, Finding]:
    return {each.check: each async for each in kafka_findings(config)}


async def test_topics_get_three_copies_of_which_two_must_have_a_record(config: Settings) -> None:
    made = await topics.ensure(config)
    assert {topic.copies for topic in made.values()} == {Copies(3, 2)}
    again = await topics.ensure(config)
    assert {(topic.created, topic.copies, topic.lacks) for topic in again.values()} == {(False, Copies(3, 2), None)}
    assert (await found(config))["copies"].found.startswith("3 brokers: each topic has 3 copies, 2 of which must have")


async def test_a_topic_with_fewer_copies_is_named_and_left_as_it_is(
    config: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=config.kafka_brokers)
    await admin.start()
    await admin.create_topics([NewTopic(config.events_topic, 4, 1)])
    await admin.close()
    for name in ("kafka_brokers", "events_topic", "worker_group", "events_partitions"):
        monkeypatch.setenv(name.upper(), str(getattr(config, name)))
    monkeypatch.setattr("app.logs.configure", lambda *_: None)
    with caplog.at_level(logging.INFO):
        assert await asyncio.to_thread(cli.main, ["topics"]) == 0
    assert f"topic {config.events_topic}: exists, 1 copy" in caplog.messages
    (warned,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert warned.startswith(f"topic {config.events_topic} has 1 copy, not 3: ")
    finding = (await found(config))[f"copies of {config.events_topic}"]
    assert finding.status == "warning"


async def test_what_a_broker_that_is_away_leaves_is_a_finding(config: Settings, cluster: KafkaCluster) -> None:
    await topics.ensure(config)
    (await cluster.leader_of(config.events_topic, 0)).kill()

    async def noticed() -> bool:
        finding = (await found(config)).get(f"copies of {config.events_topic}")
        return finding is not None and finding.status == "warning" and "is not in sync" in finding.found

    await eventually(noticed, "the doctor sees copies that are not in sync")


async def test_a_partition_that_nobody_leads_is_an_error(config: Settings, cluster: KafkaCluster) -> None:
    one = msgspec.structs.replace(config, topic_replication=1)
    await topics.ensure(one)
    (await cluster.leader_of(one.events_topic, 0)).kill()

    async def noticed() -> bool:
        finding = (await found(one)).get(f"copies of {one.events_topic}")
        return finding is not None and finding.status == "error" and finding.found.startswith("nobody leads partition")

    await eventually(noticed, "the doctor sees a partition without a leader")


async def test_a_first_address_where_nobody_listens_keeps_nobody_from_work(
    config: Settings, cluster: KafkaCluster
) -> None:
    (nobody,) = free_ports(1)
    await _all_ask(msgspec.structs.replace(config, kafka_brokers=f"127.0.0.1:{nobody},{cluster.bootstrap}"))


async def test_an_address_that_takes_connections_and_says_nothing_keeps_nobody_from_work(
    config: Settings, cluster: KafkaCluster
) -> None:
    with FaultProxy(cluster.brokers[0].port) as silent:
        silent.freeze()
        half = msgspec.structs.replace(config, kafka_brokers=f"127.0.0.1:{silent.port},{cluster.bootstrap}")
        for _ in range(ASKED_OFTEN):
            await _all_ask(half)
        silent.restore()


async def _all_ask(config: Settings) -> None:
    """All that is asked before work, each within the 5 s that a worker's preflight waits for it, and an event."""
    async with asyncio.timeout(15):
        assert {topic.lacks for topic in (await topics.ensure(config)).values()} == {None}
    for question in (topics.problem, session_problem):
        async with asyncio.timeout(5):
            assert await question(config) is None
    async with asyncio.timeout(30):
        assert (await found(config))["kafka"].status == "ok"
    publisher = Publisher(config.kafka_brokers, config.events_topic, 100, lambda *_: None, Metrics())
    publisher.start()
    publisher.put("BTCUSDT", Kind.TRADE, b"{}")
    assert await publisher.stop(20) == 0, "the producer's event is in Kafka"


async def test_a_worker_whose_first_address_is_dead_works_and_leaves_the_group_when_it_dies(
    config: Settings, cluster: KafkaCluster, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (nobody,) = free_ports(1)
    await topics.ensure(config)
    deployment = Deployment(
        f"127.0.0.1:{nobody},{cluster.bootstrap}",
        config.redis_url,
        config.worker_group,
        tmp_path_factory.mktemp("worker"),
        session_timeout_ms=60_000,
    )
    with deployment.worker("w1") as worker:
        await eventually(worker.partitions, "the worker has partitions")
        worker.crash()
        # Long before its session ends.
        await eventually(lambda: _nobody(deployment), "it has been made to leave", limit_sec=30)


async def _nobody(deployment: Deployment) -> bool:
    return await deployment.members() == 0
