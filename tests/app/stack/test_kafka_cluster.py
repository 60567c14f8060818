"""Three brokers as processes: who leads what is found, also when the one that led is gone."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from app.stack.kafka import KafkaBroker
from app.stack.kafka_cluster import KafkaCluster
from support.servers import started

pytestmark = pytest.mark.stack

TOPIC, GROUP = "kept", "readers"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    own = started(lambda: KafkaCluster(tmp_path_factory.mktemp("cluster")))
    yield own
    own.kill()


async def test_what_one_broker_took_is_read_when_leader_controller_and_coordinator_have_been_killed(
    cluster: KafkaCluster,
) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=cluster.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(TOPIC, 1, 3)])
    await admin.close()
    for number, find in enumerate((_leader, _coordinator, KafkaCluster.controller)):
        victim = await find(cluster)
        async with AIOKafkaProducer(bootstrap_servers=cluster.bootstrap, acks="all") as producer:
            await producer.send_and_wait(TOPIC, b"%d" % number)
        victim.kill()
        assert (await find(cluster)).running
        assert len(cluster.running) == 2
        await asyncio.to_thread(cluster.start)
        assert len(cluster.running) == 3
    async with AIOKafkaConsumer(
        TOPIC, bootstrap_servers=cluster.bootstrap, group_id=GROUP, auto_offset_reset="earliest"
    ) as consumer:
        assert [(await consumer.getone()).value for _ in range(3)] == [b"0", b"1", b"2"]


async def _leader(cluster: KafkaCluster) -> KafkaBroker:
    return await cluster.leader_of(TOPIC, 0)


async def _coordinator(cluster: KafkaCluster) -> KafkaBroker:
    return await cluster.coordinator_of(GROUP)


def test_every_broker_has_a_number_and_ports_of_its_own(tmp_path: Path) -> None:
    cluster = KafkaCluster(tmp_path, 3)
    assert [broker.node_id for broker in cluster.brokers] == [1, 2, 3]
    assert len({port for each in cluster.brokers for port in (each.port, each.controller_port)}) == 6
    assert cluster.bootstrap.count(",") == 2
