import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import UnknownTopicOrPartitionError

from app.stack.errors import StackError
from app.stack.java import Java, find_java
from app.stack.kafka import KafkaBroker
from app.stack.kafka_files import KafkaFiles

pytestmark = pytest.mark.stack


@pytest.fixture
def broker(tmp_path: Path, kafka_broker: KafkaBroker) -> Iterator[KafkaBroker]:
    """Give a broker of the test's own, not started; the session's one has shown that one can run here."""
    own = KafkaBroker(tmp_path / "broker")
    yield own
    own.kill()


async def _create(bootstrap: str, topic: str, partitions: int = 1) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, partitions, 1)])
    finally:
        await admin.close()


async def _send(bootstrap: str, topic: str, *values: bytes) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True) as producer:
        for value in values:
            await producer.send_and_wait(topic, value)


async def _read(bootstrap: str, topic: str, count: int, group: str | None = None) -> list[bytes]:
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=group,
        auto_offset_reset="earliest",
        session_timeout_ms=1000,
        heartbeat_interval_ms=100,
    )
    async with consumer:
        return [(await consumer.getone()).value for _ in range(count)]


async def test_records_go_in_and_come_out_through_a_group_with_a_short_session(kafka: str, topic_prefix: str) -> None:
    await _create(kafka, topic_prefix)
    await _send(kafka, topic_prefix, b"1", b"2")
    assert await _read(kafka, topic_prefix, 2, group=topic_prefix) == [b"1", b"2"]


async def test_a_topic_that_nobody_created_is_not_made_up(kafka: str, topic_prefix: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        answer = await admin.describe_topics([topic_prefix])
    finally:
        await admin.close()
    assert answer[0]["error_code"] == UnknownTopicOrPartitionError.errno


async def test_a_killed_broker_comes_back_with_its_records_on_the_same_port(broker: KafkaBroker) -> None:
    broker.start()
    address = broker.bootstrap
    await _create(address, "kept")
    await _send(address, "kept", b"before")
    broker.kill()
    assert not broker.running
    broker.start()
    assert broker.bootstrap == address
    await _send(address, "kept", b"after")
    assert await _read(address, "kept", 2) == [b"before", b"after"]


def test_it_stops_by_itself_on_sigterm_and_gives_its_ports_back(broker: KafkaBroker) -> None:
    broker.start()
    # A JVM that was asked to end says so with 128 + 15; after SIGKILL it would be -9.
    assert broker.stop() == 128 + signal.SIGTERM
    broker.start()


def test_it_listens_on_loopback_only(kafka_broker: KafkaBroker) -> None:
    ports = {kafka_broker.port, kafka_broker.controller_port}
    assert _listeners(kafka_broker.process.pid) == {("127.0.0.1", port) for port in ports}


def _listeners(pid: int) -> set[tuple[str, int]]:
    sockets = {link.readlink().name for link in Path(f"/proc/{pid}/fd").iterdir() if "socket:" in str(link.readlink())}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                host, port = fields[1].split(":")
                # Java listens on IPv6 sockets; the last four bytes are the mapped IPv4 address.
                found.add((socket.inet_ntoa(bytes.fromhex(host[-8:])[::-1]), int(port, 16)))
    return found


def test_a_taken_port_gives_one_line_that_names_it(tmp_path: Path, kafka_broker: KafkaBroker) -> None:
    second = KafkaBroker(tmp_path, port=kafka_broker.port)
    with pytest.raises(StackError, match=rf"^port {kafka_broker.port} \(kafka\) is taken: .*PORT_BASE.*$"):
        second.start()
    third = KafkaBroker(tmp_path, controller_port=kafka_broker.port)
    with pytest.raises(StackError, match=r"\(kafka controller\) is taken"):
        third.start()


def test_a_broker_that_cannot_start_shows_the_end_of_its_log(tmp_path: Path, kafka_broker: KafkaBroker) -> None:
    broken = KafkaBroker(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "meta.properties").write_text("version=1\ncluster.id=x\nnode.id=7\n")
    with pytest.raises(StackError, match=r"kafka ended with exit code 1 before it was ready(.|\n)*node.id"):
        broken.start()


def test_without_the_jars_one_line_says_what_to_run(tmp_path: Path) -> None:
    files = KafkaFiles(Java(Path("java"), Path(), "17"), cache=tmp_path)
    with pytest.raises(StackError, match=r"^Kafka's jars are missing in .*: run `make setup`$"):
        KafkaBroker(tmp_path / "broker", files=files)


def test_a_class_archive_serves_only_the_java_and_the_jars_it_was_made_for(tmp_path: Path) -> None:
    (tmp_path / "jars").mkdir()
    (tmp_path / "jars" / "kafka-1.jar").touch()
    java = Java(Path("java"), Path(), "17.0.1+1")
    archive = KafkaFiles(java, tmp_path).archive
    assert KafkaFiles(Java(Path("java"), Path(), "17.0.2+1"), tmp_path).archive != archive
    archive.touch()
    assert f"-XX:SharedArchiveFile={archive}" in KafkaFiles(java, tmp_path).command("kafka.Kafka")
    (tmp_path / "jars" / "kafka-2.jar").touch()
    assert KafkaFiles(java, tmp_path).archive != archive
    assert not any("Archive" in part for part in KafkaFiles(java, tmp_path).command("kafka.Kafka"))


def test_a_new_broker_of_the_java_in_the_wheel_starts_too(tmp_path: Path, kafka_broker: KafkaBroker) -> None:
    with KafkaBroker(tmp_path, files=KafkaFiles(find_java({}))) as broker:
        assert broker.running
