"""A broker and a Redis with TLS and users, and the ways in that must not work."""

import dataclasses
import sys
from pathlib import Path
from typing import Final

from app.stack.kafka import KafkaBroker, Listener
from app.stack.ports import LOOPBACK, free_ports
from app.stack.process import Child
from app.stack.redis import RedisServer, ServerTls
from support.certificates import Authority, Issued
from support.workers import ROOT, Deployment, Worker

USERS_FILE: Final = Path(__file__).parents[2] / "deploy" / "redis-users.acl"
KAFKA_USER: Final = "context8"
KAFKA_PASSWORD: Final = "kafka-pass-4f1d"
WORKER_PASSWORD: Final = "redis-worker-pass-77aa"
READER_PASSWORD: Final = "redis-reader-pass-90bc"
ADMIN_PASSWORD: Final = "redis-admin-pass-e21c"
BINANCE_KEY: Final = "binance-key-5b52"
BINANCE_SECRET: Final = "binance-secret-0d9f"
TOKEN: Final = "reader-token-1c2d3e4f5a"
SECRETS: Final = (
    *(KAFKA_PASSWORD, WORKER_PASSWORD, READER_PASSWORD, ADMIN_PASSWORD),
    *(BINANCE_KEY, BINANCE_SECRET, TOKEN),
)
MECHANISMS: Final = ("SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN")


@dataclasses.dataclass(frozen=True)
class Secured:
    """Servers with TLS; `kafka` has a listener for each way in, by name."""

    authority: Authority
    stranger: Authority
    client: Issued
    kafka: KafkaBroker
    ports: dict[str, int]

    def start(self) -> None:
        """Start the broker."""
        self.kafka.start()

    def brokers(self, listener: str) -> str:
        """Address of a listener."""
        return f"{LOOPBACK}:{self.ports[listener]}"

    def kafka_env(self, listener: str = "USERS") -> dict[str, str]:
        """The settings with which our user gets in through a listener that wants users."""
        return {
            "KAFKA_BROKERS": self.brokers(listener),
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_USERNAME": KAFKA_USER,
            "KAFKA_PASSWORD": KAFKA_PASSWORD,
            "KAFKA_CA_FILE": str(self.authority.file),
        }

    def by_certificate(self, listener: str) -> dict[str, str]:
        """The settings of a client without a user, which trusts our authority."""
        return {
            "KAFKA_BROKERS": self.brokers(listener),
            "KAFKA_SECURITY_PROTOCOL": "SSL",
            "KAFKA_CA_FILE": str(self.authority.file),
        }

    def redis_env(self, redis: RedisServer, user: str, password: str) -> dict[str, str]:
        """The settings with which a user gets into Redis."""
        return {
            "REDIS_URL": redis.url.replace("//", f"//{user}@"),
            "REDIS_PASSWORD": password,
            "REDIS_CA_FILE": str(self.authority.file),
        }


def leaks(folder: Path, *more: str) -> set[str]:
    """The names of logs in a folder that hold a secret."""
    return {log.name for log in folder.glob("*.log") for each in (*SECRETS, *more) if each in log.read_text()}


def secured_kafka(folder: Path) -> Secured:
    """Return a broker that is not started.

    Its listeners: USERS (any mechanism), SCRAM (SCRAM-SHA-512 alone), CLIENTS (wants certificates), EXPIRED (its own
    has expired), FOREIGN (its own is of another authority), ELSEWHERE (its own is for another host), and the plain one.
    """
    authority, stranger = Authority.in_folder(folder), Authority(folder, "stranger")
    good = authority.issue("server")
    ways: dict[str, dict[str, object]] = {
        "USERS": {"key_and_certificate": good.both, "mechanisms": MECHANISMS},
        "SCRAM": {"key_and_certificate": good.both, "mechanisms": MECHANISMS[:1]},
        "CLIENTS": {"key_and_certificate": good.both, "client_authority": authority.file},
        "EXPIRED": {"key_and_certificate": authority.issue("expired", days=(-9, -2)).both},
        "FOREIGN": {"key_and_certificate": stranger.issue("foreign").both},
        "ELSEWHERE": {"key_and_certificate": authority.issue("elsewhere", hosts=("kafka.internal",)).both},
    }
    ports = dict(zip(ways, free_ports(len(ways)), strict=True))
    listeners = [Listener(name, ports[name], **way) for name, way in ways.items()]  # type: ignore[arg-type] # by kind
    broker = KafkaBroker(folder / "kafka", listeners=listeners, users={KAFKA_USER: KAFKA_PASSWORD})
    ports["PLAIN"] = broker.port
    return Secured(authority, stranger, authority.issue("client"), broker, ports)


def secured_redis(folder: Path, shown: Issued, *, port: int | None = None, **passwords: str) -> RedisServer:
    """Return a Redis, not started, that shows a certificate and has the users of deploy/redis-users.acl, and an admin.

    `passwords` replace the usual ones of `worker`, `reader` and `admin`.
    """
    known = {"worker": WORKER_PASSWORD, "reader": READER_PASSWORD, "admin": ADMIN_PASSWORD} | passwords
    text = USERS_FILE.read_text(encoding="utf-8")
    for name in ("reader", "worker"):
        text = text.replace(f">CHANGE-THE-{name.upper()}-PASSWORD", f">{known[name]}")
    # Debian 12 has a Redis that knows no such part of CLIENT.
    text = text.replace(" +client|setinfo", "")
    folder.mkdir(parents=True, exist_ok=True)
    users = folder / "users.acl"
    lines = [line for line in text.splitlines() if line.startswith("user ")]  # an ACL file has no comments
    users.write_text("\n".join([*lines, f"user admin on >{known['admin']} ~* &* +@all", ""]))
    return RedisServer(folder, port=port, tls=ServerTls(shown.certificate, shown.key, shown.authority), users=users)


def secured_worker(deployment: Deployment, secured: Secured, redis: RedisServer, name: str, **changes: str) -> Worker:
    """Return a worker, not started, with our user in Kafka and the worker's in Redis."""
    access = secured.kafka_env() | secured.redis_env(redis, "worker", WORKER_PASSWORD)
    return deployment.worker(name, **access | changes)


def command(deployment: Deployment, name: str, *arguments: str, **env: str) -> Child:
    """Return another command of the deployment, not started."""
    settings = deployment.settings
    topics = {
        "EVENTS_TOPIC": settings.events_topic,
        "WORKER_GROUP": settings.worker_group,
        "EVENTS_PARTITIONS": str(settings.events_partitions),
    }
    start = [sys.executable, "-m", "app.cli", *arguments]
    return Child(name, start, log=deployment.folder / f"{name}.log", env=topics | env, cwd=ROOT)
