"""docs/security.md as it is written: its commands make what its settings need, and with both the doctor is content."""

import asyncio
import re
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import GroupAuthorizationFailedError, TopicAuthorizationFailedError

from app import topics
from app.doctor.findings import Finding, healthy
from app.doctor.kafka_checks import kafka_findings
from app.doctor.redis_checks import redis_findings
from app.preflight import session_problem
from app.security.kafka import kafka_client, lacks_right
from app.security.secret import Secret
from app.settings import SECRETS, Settings, load
from app.stack.java import find_java
from app.stack.kafka import KafkaBroker, Listener
from app.stack.kafka_files import KafkaFiles
from app.stack.ports import free_ports
from app.stack.process import Child
from app.stack.redis import find_redis
from support.kafka_acls import grant
from support.markets import trade
from support.records import event_bytes
from support.secured import USERS_FILE
from support.servers import started
from support.workers import ROOT, Deployment, Worker, eventually

pytestmark = pytest.mark.stack

PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
KAFKA_WORD, PRODUCER_WORD, REDIS_WORD = "kafka-word-31b7", "producer-word-77c1", "redis-word-8c0d"


def block(heading: str, language: str, number: int = 0) -> str:
    """A block of this language under a heading, by default the first."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    return found[number]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder in which the page's certificates are made."""
    made = tmp_path_factory.mktemp("page")
    subprocess.run(["bash", "-euo", "pipefail", "-c", block("Certificates", "sh")], cwd=made, check=True)
    (made / "both.pem").write_text((made / "server.key").read_text() + (made / "server.pem").read_text())
    return made


@pytest.fixture(scope="module")
def broker(folder: Path) -> Iterator[tuple[KafkaBroker, int]]:
    """Give a broker with the page's listener, the port of that, and a user without rights as the page makes it."""
    (port,) = free_ports(1)
    listener = Listener("USERS", port, folder / "both.pem", mechanisms=("SCRAM-SHA-512",))
    made = started(
        lambda: KafkaBroker(folder / "kafka", listeners=[listener], users={"producer": PRODUCER_WORD}, rights=True)
    )
    written = dict(line.split("=", 1) for line in block("Kafka", "properties").splitlines())
    ours = listener.settings({}) | {"listener.security.protocol.map": "CONTROLLER:PLAINTEXT,USERS:SASL_SSL"}
    assert written == ours | {"listener.name.users.ssl.keystore.location": "/etc/kafka/server-both.pem"}, (
        "the page's listener is that of the tests"
    )
    command = block("Kafka", "sh").strip().replace("127.0.0.1:9092", made.bootstrap)
    program = KafkaFiles(find_java()).command("kafka.admin.ConfigCommand")
    script = 'kafka-configs.sh() { "${PROGRAM[@]}" "$@"; }; PROGRAM=("$@"); ' + command
    env = {"KAFKA_PASSWORD": KAFKA_WORD, "PATH": "/usr/bin:/bin"}
    subprocess.run(["bash", "-euc", script, "bash", *program], env=env, check=True, capture_output=True)
    yield made, port
    made.stop()


class PageRedis:
    """A Redis that runs as the page says."""

    def __init__(self, folder: Path) -> None:
        executable, version = find_redis(tls=True)
        text = USERS_FILE.read_text(encoding="utf-8").replace("CHANGE-THE-WORKER-PASSWORD", REDIS_WORD)
        if re.search(r"v=7\.[01]\.", version):
            text = text.replace(" +client|setinfo", "")
        (folder / "users.acl").write_text(text)
        (self.port,) = free_ports(1)
        program, *options = block("Redis", "sh").strip().replace("6379", str(self.port)).split()
        assert program == "redis-server"
        command: list[str | Path] = [executable, *options, "--bind", "127.0.0.1", "--save", ""]
        self.child = Child("redis", command, log=folder / "redis.log", cwd=folder)

    def start(self) -> None:
        self.child.start()
        self.child.wait_ready(lambda: "eady to accept" in self.child.log_tail(), 15)


@pytest.fixture
def redis(folder: Path) -> Iterator[int]:
    """Give the port of a Redis as the page has it."""
    server = started(lambda: PageRedis(folder))
    yield server.port
    server.child.stop()


def settings_of_the_page(folder: Path, kafka_port: int, redis_port: int, name: str) -> Settings:
    """What the page's settings are on this machine."""
    (folder / "kafka-password").write_text(KAFKA_WORD)
    (folder / "redis-password").write_text(REDIS_WORD)
    text = block("Kafka", "ini") + block("Redis", "ini")
    for there, here in {
        "kafka.internal:9093": f"localhost:{kafka_port}",
        "redis.internal:6379": f"localhost:{redis_port}",
        "/run/secrets/": f"{folder}/",
        "/etc/context8/": f"{folder}/",
    }.items():
        text = text.replace(there, here)
    (folder / "env").write_text(f"{text}EVENTS_TOPIC={name}.events\nWORKER_GROUP={name}\nEVENTS_PARTITIONS=4\n")
    return load({}, folder / "env")


def rights_of_the_page(prefix: str) -> list[str]:
    """The commands that give rights, for the topics and the group of one test."""
    text = block("Kafka", "sh", 1)
    for there, here in {
        "--topic nt.binance": f"--topic {prefix}.events",
        "--topic context8": f"--topic {prefix}",
        "--group context8": f"--group {prefix}",
    }.items():
        assert there in text
        text = text.replace(there, here)
    return text.splitlines()


async def test_with_its_commands_and_settings_the_doctor_is_content_and_everybody_works(
    folder: Path, broker: tuple[KafkaBroker, int], redis: int, topic_prefix: str
) -> None:
    kafka, port = broker
    config = await asyncio.to_thread(settings_of_the_page, folder, port, redis, topic_prefix)
    with pytest.raises(TopicAuthorizationFailedError) as refused:
        await topics.ensure(config)
    assert "the user 'context8' lacks a right" in str(lacks_right(config, refused.value))
    deployment = Deployment(kafka.bootstrap, config.redis_url, topic_prefix, folder)
    await deployment.create_topics()
    assert await topics.problem(config) == (
        f"topic {topic_prefix}.events is missing: run `context8 topics`, unless our user may not see it"
    )
    with pytest.raises(GroupAuthorizationFailedError):
        await session_problem(config)

    for command in rights_of_the_page(topic_prefix):
        await grant(command, kafka.bootstrap)
    found: list[Finding] = [each async for each in kafka_findings(config)]
    found += [each async for each in redis_findings(config, writes=True, reads=False)]
    assert healthy(found), found
    assert {each.check for each in found if each.status == "warning"} <= {"redis version"}

    env = dict(line.split("=", 1) for line in (folder / "env").read_text().splitlines())
    with deployment.worker("w1", **env) as worker:
        written = msgspec.structs.replace(config, kafka_username="producer", kafka_password=Secret(PRODUCER_WORD))
        async with AIOKafkaProducer(**kafka_client(written), enable_idempotence=True) as producer:
            await producer.send_and_wait(config.events_topic, event_bytes(trade(0)), key=b"BTCUSDT")
        await eventually(partial(reports, worker), "the worker reports what the producer wrote")


async def reports(worker: Worker) -> bool:
    return await worker.metric("context8_cache_writes") > 0


def test_every_secret_is_named_on_the_page() -> None:
    assert all(f"`{name.upper()}`" in PAGE for name in SECRETS)
