"""One real Kafka broker (KRaft, a node that is broker and controller) as a child process on loopback.

Alone, or one of the `voters` of a cluster (`app/stack/kafka_cluster.py`).

Its folder is all the state it has: `kill()` and `start()` again is what a crash and restart of a broker look
like, with the same port and the same records.
"""

import asyncio
import socket
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from app.stack.java import find_java
from app.stack.kafka_files import NODE_ID, KafkaFiles
from app.stack.ports import LOOPBACK, free_ports, require_free
from app.stack.process import Child

_START_LIMIT_SEC: Final = 60.0

# Kafka's name of a setting: its value here. What is not named keeps Kafka's default.
_SETTINGS: Final = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    # A topic that is made by accident gets the wrong partition count, and tables then fail.
    "auto.create.topics.enable": "false",
    # One node cannot hold more than one replica.
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    # Workers ask for session timeouts of about a second; the default minimum is 6 s.
    "group.min.session.timeout.ms": "500",
    # The default holds the first member of a group back for 3 s, in case more come.
    "group.initial.rebalance.delay.ms": "0",
    # A restart after a kill has to wait for the old registration to expire: 4 s instead of 11 s.
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "400",
    # Compaction that a test can wait for, within a small heap.
    "log.cleaner.backoff.ms": "1000",
    "log.cleaner.dedupe.buffer.size": str(4 << 20),
    "num.network.threads": "2",
    "num.io.threads": "4",
}


@dataclass(frozen=True, slots=True)
class Listener:
    """One more way in, with TLS, users, or both.

    Attributes:
        name: what the broker calls it, in letters.
        port: where it listens on loopback.
        key_and_certificate: what it shows, one file in PEM; without it everything is in the clear.
        client_authority: clients must show a certificate of this authority.
        mechanisms: clients must log in by one of these SASL mechanisms.
    """

    name: str
    port: int
    key_and_certificate: Path | None = None
    client_authority: Path | None = None
    mechanisms: tuple[str, ...] = ()

    @property
    def protocol(self) -> str:
        """Kafka's name of the security protocol."""
        way = "SSL" if self.key_and_certificate else "PLAINTEXT"
        return f"SASL_{way}" if self.mechanisms else way

    def settings(self, users: Mapping[str, str]) -> dict[str, str]:
        """Return the broker's settings of this listener alone."""
        settings: dict[str, str] = {}
        if self.key_and_certificate:
            settings |= {"ssl.keystore.type": "PEM", "ssl.keystore.location": str(self.key_and_certificate)}
        if self.client_authority:
            settings |= {
                "ssl.client.auth": "required",
                "ssl.truststore.type": "PEM",
                "ssl.truststore.location": str(self.client_authority),
            }
        if self.mechanisms:
            settings["sasl.enabled.mechanisms"] = ",".join(self.mechanisms)
        for mechanism in self.mechanisms:
            module = "plain.PlainLoginModule" if mechanism == "PLAIN" else "scram.ScramLoginModule"
            known = "".join(f' user_{name}="{text}"' for name, text in users.items()) if mechanism == "PLAIN" else ""
            jaas = f"org.apache.kafka.common.security.{module} required{known};"
            settings[f"{mechanism.lower()}.sasl.jaas.config"] = jaas
        return {f"listener.name.{self.name.lower()}.{name}": value for name, value in settings.items()}


@dataclass(frozen=True, slots=True)
class Membership:
    """A broker's place in a cluster.

    Attributes:
        node_id: its number, from 1.
        voters: every node's controller as `id@host:port`, its own included, separated by commas.
        settings: what is set on top of the settings of a single broker.
    """

    node_id: int
    voters: str
    settings: Mapping[str, str]


class KafkaBroker:
    """A broker whose data lies in `folder`; as a context manager it is started and stopped.

    Args:
        folder: data, settings and log of this broker, made if absent.
        port: where clients connect; a free one by default, kept over restarts.
        controller_port: where the broker talks to its own controller; a free one by default.
        via: port of a proxy that passes on to `behind`; clients that come through it are told to come back
            through it, as Kafka's clients connect to whatever address the broker gives them.
        listeners: more of them; the plain one stays: the broker is started and stopped by it.
        users: passwords by user name, for SASL.
        rights: users may do only what an ACL allows; clients of the plain listener may do everything.
        cluster: its place in a cluster; alone without one.
        files: the Kafka to run; by default the one that `make setup` got, with the first Java that will do.
        flags: more options for the JVM.

    Raises:
        StackError: Java or the jars are missing.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        controller_port: int | None = None,
        via: int | None = None,
        listeners: Sequence[Listener] = (),
        users: Mapping[str, str] | None = None,
        rights: bool = False,
        cluster: Membership | None = None,
        files: KafkaFiles | None = None,
        flags: tuple[str, ...] = (),
    ) -> None:
        spare, spare_for_controller, self.behind = free_ports(3)
        self.folder = folder
        self.port = port or spare
        self.controller_port = controller_port or spare_for_controller
        self._via = via
        self._listeners = listeners
        self._users = users or {}
        self._rights = rights
        self._cluster = cluster
        self.node_id = cluster.node_id if cluster else NODE_ID
        self._files = files or KafkaFiles(find_java())
        command = self._files.command("kafka.Kafka", str(self._settings_file), flags=flags)
        self.process = Child(f"kafka-{self.node_id}" if cluster else "kafka", command, log=folder / "kafka.log")

    @property
    def bootstrap(self) -> str:
        """Address for clients, `host:port`."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def running(self) -> bool:
        """Whether the broker's process exists."""
        return self.process.running

    def start(self, limit: float = _START_LIMIT_SEC) -> float:
        """Start it and return the seconds until it accepted a request to create a topic.

        Raises:
            StackError: a port is taken, or it did not come up within `limit` seconds; with the log's end.
        """
        require_free(self.port, "kafka")
        require_free(self.controller_port, "kafka controller")
        self.folder.mkdir(parents=True, exist_ok=True)
        data = self.folder / "data"
        if not data.exists():
            self._files.format_folder(data, self._users, self.node_id)
        self._settings_file.write_text(self._settings(data), encoding="utf-8")
        self.process.start()
        return self.process.wait_ready(self._accepts_topics, limit)

    def stop(self, limit: float = 10.0) -> int | None:
        """Stop it cleanly, by force after `limit` seconds; return the exit code."""
        return self.process.stop(limit)

    def kill(self) -> None:
        """End it as a crash would, at once and with nothing flushed."""
        self.process.kill()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def _settings_file(self) -> Path:
        return self.folder / "server.properties"

    def _settings(self, data: Path) -> str:
        controller = f"{LOOPBACK}:{self.controller_port}"
        settings = _SETTINGS | {
            "node.id": str(self.node_id),
            "controller.quorum.voters": f"{self.node_id}@{controller}",
            "listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap}",
            "log.dirs": str(data.resolve()),
        }
        if self._cluster:
            settings |= {"controller.quorum.voters": self._cluster.voters} | dict(self._cluster.settings)
        if self._via is not None:
            settings["listeners"] += f",PROXIED://{LOOPBACK}:{self.behind}"
            settings["advertised.listeners"] += f",PROXIED://{LOOPBACK}:{self._via}"
            settings["listener.security.protocol.map"] += ",PROXIED:PLAINTEXT"
        if self._rights:
            settings["authorizer.class.name"] = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
            settings["super.users"] = "User:ANONYMOUS"
        for each in self._listeners:
            settings["listeners"] += f",{each.name}://{LOOPBACK}:{each.port}"
            settings["advertised.listeners"] += f",{each.name}://{LOOPBACK}:{each.port}"
            settings["listener.security.protocol.map"] += f",{each.name}:{each.protocol}"
            settings |= each.settings(self._users)
        return "".join(f"{name}={value}\n" for name, value in settings.items())

    def _accepts_topics(self) -> bool:
        with socket.socket() as probe:
            if probe.connect_ex((LOOPBACK, self.port)) != 0:
                return False
        # In a thread of its own, because the caller's may be running an event loop.
        with ThreadPoolExecutor(max_workers=1) as pool:
            return pool.submit(asyncio.run, _accepts_topics(self.bootstrap)).result()


async def _accepts_topics(bootstrap: str) -> bool:
    # Imported late: programs that only want the ports need not have it.
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic
    from aiokafka.errors import KafkaError

    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=5000)
    try:
        await admin.start()
        # Checked by the controller as if it were real, and not made.
        answer = await admin.create_topics([NewTopic("context8.ready", 1, 1)], validate_only=True)
    except (KafkaError, OSError):
        return False
    finally:
        await admin.close()
    return all(code == 0 for _, code, *_ in answer.topic_errors)
