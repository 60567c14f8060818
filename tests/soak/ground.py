"""All processes of the soak: three brokers, Redis, exchange, producer, three workers, and one more for a while.

Worker 1 reaches Kafka and Redis only through proxies, which can be cut; the producer reaches the exchange so. The wall
clock of worker 2 can be set (`support/wall_clock.py`); worker 3 has its data on a small disk of its own, where we are
root, and that can be filled.
"""

import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from app.stack.kafka_cluster import KafkaCluster
from app.stack.ports import LOOPBACK, free_ports
from app.stack.process import Child
from app.stack.redis import RedisServer
from support.faults import FaultProxy
from support.wall_clock import WallClock
from support.workers import ROOT, Worker

SYMBOLS: Final = tuple(
    f"{name}USDT" for name in ("ADA", "AVAX", "BNB", "BTC", "DOGE", "DOT", "ETH", "LINK", "SOL", "XRP")
)
PARTITIONS: Final = 8
TOPIC: Final = "nt.binance"
DEAD_LETTERS: Final = "nt.binance.dlq"
GROUP: Final = "context8"
CHANGELOG: Final = f"{GROUP}-snapshots-changelog"
_RATE: Final = 40
_UP_SEC: Final = 90.0
_DISK: Final = "size=96m"


class Ground:
    """Starts and stops everything; `folder` takes data and logs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        exchange, producer, *vias = free_ports(5)
        self.kafka = KafkaCluster(folder / "kafka", vias=vias)
        self.redis = RedisServer(folder / "redis")
        self.kafka_proxies = [
            FaultProxy(broker.behind, via) for broker, via in zip(self.kafka.brokers, vias, strict=True)
        ]
        self.redis_proxy = FaultProxy(self.redis.port)
        self.exchange_proxy = FaultProxy(exchange)
        self._env = {
            "SYMBOLS": ",".join(SYMBOLS),
            "KAFKA_BROKERS": self.kafka.bootstrap,
            "REDIS_URL": self.redis.url,
            "EVENTS_PARTITIONS": str(PARTITIONS),
            "BINANCE_HTTP_URL": f"http://{LOOPBACK}:{self.exchange_proxy.port}",
            "BINANCE_WS_URL": f"ws://{LOOPBACK}:{self.exchange_proxy.port}",
            "PRODUCER_HTTP_PORT": str(producer),
        }
        self.exchange_url = f"ws://{LOOPBACK}:{exchange}"
        market = ("--market", "sim", "--symbols", ",".join(SYMBOLS), "--rate", str(_RATE), "--distinct", "2")
        self.exchange = self._command("exchange", "--port", str(exchange), *market)
        self.producer = self._command("producer")
        self._exchange_port, self._producer_port = exchange, producer
        self.clock = WallClock(folder / "clock")
        self.disk: Path | None = None
        self.workers: list[Worker] = []

    @contextmanager
    def running(self) -> Iterator["Ground"]:
        """Start everything in order, and stop what is left of it.

        Raises:
            StackError: something does not come up.
        """
        with ExitStack() as stack:
            stack.callback(self._kill)
            for proxy in (*self.kafka_proxies, self.redis_proxy, self.exchange_proxy):
                stack.enter_context(proxy)
            self.disk = stack.enter_context(_small_disk(self.folder / "worker-3"))
            self.workers = [self._worker(number) for number in (1, 2, 3, 4)]
            self.kafka.start()
            self.redis.start()
            topics = self._command("topics")
            topics.start()
            topics.wait_ready(lambda: topics.exit_code == 0, _UP_SEC)
            self.exchange.start()
            self.exchange.wait_ready(lambda: answers(self._exchange_port, "/api/v3/ping"), _UP_SEC)
            for worker in self.workers[:3]:
                worker.start()
            self.producer.start()
            yield self

    def processes(self) -> dict[str, int]:
        """Return the process ids of what runs, by name: of workers the process that does the work."""
        children = {"exchange": self.exchange, "producer": self.producer, "redis": self.redis.process}
        children |= {f"broker-{each.node_id}": each.process for each in self.kafka.brokers}
        found = {name: child.pid for name, child in children.items() if child.running}
        return found | {worker.name: worker.working_pid for worker in self.workers if worker.running}

    def ready(self, child: Child) -> bool:
        """Whether a worker has partitions, or the producer answers: it takes part again."""
        if isinstance(child, Worker):
            body = _get(child.web_port, "/health")
            return b'"partitions":[' in body and b'"partitions":[]' not in body
        return child is not self.producer or answers(self._producer_port, "/metrics")

    def _kill(self) -> None:
        for child in (self.producer, self.exchange, *self.workers):
            child.kill()
        self.redis.kill()
        self.kafka.kill()

    def _command(self, name: str, *arguments: str) -> Child:
        command = [sys.executable, "-m", "app.cli", name, *arguments]
        return Child(name, command, log=self.folder / f"{name}.log", env=self._env, cwd=ROOT)

    def _worker(self, number: int) -> Worker:
        web_port, metrics_port = free_ports(2)
        env = self._env | {
            "NT_NODE_ID": f"w{number}",
            "WORKER_DATA_DIR": str(self.folder / f"worker-{number}" / "data"),
            "WORKER_WEB_PORT": str(web_port),
            "NT_METRICS_PORT": str(metrics_port),
        }
        if number == 1:
            env |= {"KAFKA_BROKERS": self.kafka.bootstrap_via}
            env |= {"REDIS_URL": f"redis://{LOOPBACK}:{self.redis_proxy.port}/0"}
        if number == 2:
            env |= self.clock.env()
        return Worker(f"worker-{number}", env, self.folder / f"worker-{number}.log", web_port, metrics_port)


def answers(port: int, path: str) -> bool:
    """Whether an HTTP server of loopback answers."""
    return bool(_get(port, path))


def _get(port: int, path: str) -> bytes:
    with suppress(OSError), urllib.request.urlopen(f"http://{LOOPBACK}:{port}{path}", timeout=1) as answer:
        body: bytes = answer.read()
        return body
    return b""


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path | None]:
    """Mount a small disk in memory at `folder`; without the right to, give None."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = shutil.which("mount")
    command = [str(mount), "-t", "tmpfs", "-o", _DISK, "none", str(folder)]
    if os.geteuid() != 0 or not mount or subprocess.run(command, capture_output=True, check=False).returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, check=False)


def wait_until(look: Callable[[], bool], limit: float, step: float = 0.1) -> bool:
    """Return whether `look` became true within `limit` seconds."""
    deadline = time.monotonic() + limit
    while not look():
        if time.monotonic() > deadline:
            return False
        time.sleep(step)
    return True
