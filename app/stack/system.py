"""The whole system as processes on this machine: Kafka, Redis, exchange, producer, workers and reader.

Every process gets its settings through the environment, as it would in production; only the addresses are
loopback's. All of them end with this process, whatever ends it (app/stack/process.py).
"""

import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from app.stack.kafka import KafkaBroker
from app.stack.ports import LOOPBACK, Ports
from app.stack.process import Child
from app.stack.redis import RedisServer

_ROOT: Final = Path(__file__).parents[2]
_READY_SEC: Final = 40.0
_PARTITIONS: Final = 8
_ACCESS: Final = (
    *("KAFKA_SECURITY_PROTOCOL", "KAFKA_USERNAME", "KAFKA_PASSWORD", "KAFKA_PASSWORD_FILE"),
    *("KAFKA_CA_FILE", "KAFKA_CERT_FILE", "KAFKA_KEY_FILE"),
    *("REDIS_PASSWORD", "REDIS_PASSWORD_FILE", "REDIS_CA_FILE", "REDIS_PREFIX"),
    *("REDIS_SENTINEL_PASSWORD", "REDIS_SENTINEL_PASSWORD_FILE"),
)


class SystemOptions(msgspec.Struct, frozen=True):
    """What to run: a tape or, without one, a simulated market of `symbols`, and so many workers.

    Attributes:
        scenario: what is played in the simulated market; the truth goes to `truth.jsonl` in the current folder.
    """

    symbols: tuple[str, ...]
    tapes: tuple[Path, ...] = ()
    workers: int = 1
    port_base: int | None = None
    scenario: str | None = None


class System:
    """The processes of one running system; data and logs lie in `folder`.

    Raises:
        StackError: in `start…`, a port is taken or a process did not come up; one line says which and why.
    """

    def __init__(self, options: SystemOptions, folder: Path) -> None:
        self.options = options
        self.symbols = options.symbols
        self.ports = ports = Ports.from_base(options.port_base)
        self._folder = folder
        self.kafka = KafkaBroker(folder / "kafka", port=ports.kafka, controller_port=ports.kafka_controller)
        self.redis = RedisServer(folder / "redis", port=ports.redis)
        self.exchange = self._command("exchange", "exchange", *self._source())
        self.producer = self._command("producer", "producer")
        self.reader = self._command("reader", "reader")
        self.workers = [self._worker(index) for index in range(options.workers)]

    @property
    def reader_url(self) -> str:
        """Where the reader answers."""
        return _http(self.ports.reader)

    @property
    def environment(self) -> dict[str, str]:
        """The settings that all processes share, as environment variables."""
        return {
            # What a .env says of other servers: these here have neither TLS nor users.
            **dict.fromkeys(_ACCESS, ""),
            "SYMBOLS": ",".join(self.symbols),
            "KAFKA_BROKERS": self.kafka.bootstrap,
            "REDIS_URL": self.redis.url,
            "BINANCE_HTTP_URL": _http(self.ports.exchange),
            "BINANCE_WS_URL": f"ws://{LOOPBACK}:{self.ports.exchange}",
            "EVENTS_PARTITIONS": str(_PARTITIONS),
            "SESSION_TIMEOUT_MS": "1500",
            "PRODUCER_HTTP_PORT": str(self.ports.producer),
            "READER_PORT": str(self.ports.reader),
        }

    def start_servers(self) -> None:
        """Start Kafka and Redis and create the topics."""
        self.ports.require_free(self.options.workers)
        with ThreadPoolExecutor(2) as pool:
            for started in [pool.submit(self.kafka.start), pool.submit(self.redis.start)]:
                started.result()
        topics = self._command("topics", "topics")
        topics.start()
        topics.wait_ready(lambda: topics.exit_code == 0, _READY_SEC)

    def start_exchange(self) -> None:
        """Start the exchange and learn its symbols from it."""
        self._start(self.exchange, _http(self.ports.exchange), "/api/v3/ping")
        if self.options.tapes:
            listed = _get_json(f"{_http(self.ports.exchange)}/api/v3/exchangeInfo")["symbols"]
            offered = [entry["symbol"] for entry in listed]
            self.symbols = tuple(sorted(set(self.symbols) & set(offered))) or tuple(sorted(offered))
            self.producer = self._command("producer", "producer")

    def start_workers(self) -> None:
        """Start all workers and wait until each answers."""
        for worker in self.workers:
            worker.start()
        for index, worker in enumerate(self.workers):
            web_port, _ = self.ports.of_worker(index)
            worker.wait_ready(partial(_answers, _http(web_port), "/health"), _READY_SEC)

    def start_reader(self) -> None:
        """Start the reader."""
        self._start(self.reader, self.reader_url, "/health")

    def start_producer(self) -> None:
        """Start the producer."""
        self._start(self.producer, _http(self.ports.producer), "/metrics")

    def ended(self) -> Child | None:
        """Return a process that should run and does not, if there is one; of the workers, one is enough."""
        every = [self.reader, self.producer, self.exchange, self.redis.process, self.kafka.process]
        if not any(worker.running for worker in self.workers):
            every += self.workers
        return next((child for child in every if child.exit_code is not None), None)

    def stop(self) -> None:
        """Stop everything; sources before those that they feed."""
        for child in (self.producer, self.exchange):
            child.stop()
        for child in (*self.workers, self.reader):
            child.request_stop()
        for child in (*self.workers, self.reader):
            child.stop()
        self.redis.stop()
        self.kafka.stop()

    def _source(self) -> list[str]:
        port = ["--port", str(self.ports.exchange)]
        if self.options.tapes:
            return [*port, "--loop", "--tape", *map(str, self.options.tapes)]
        market = [*port, "--market", "sim", "--symbols", ",".join(self.options.symbols)]
        if self.options.scenario is None:
            return market
        return [*market, "--scenario", self.options.scenario, "--truth", str(Path.cwd() / "truth.jsonl")]

    def _command(self, name: str, *arguments: str, **env: str) -> Child:
        command = [sys.executable, "-m", "app.cli", *arguments]
        return Child(name, command, log=self._folder / f"{name}.log", env=self.environment | env, cwd=_ROOT)

    def _worker(self, index: int) -> Child:
        web_port, metrics_port = self.ports.of_worker(index)
        return self._command(
            f"worker-{index + 1}",
            "worker",
            NT_NODE_ID=f"w{index + 1}",
            WORKER_DATA_DIR=str(self._folder / f"worker-{index + 1}"),
            WORKER_WEB_PORT=str(web_port),
            NT_METRICS_PORT=str(metrics_port),
        )

    def _start(self, child: Child, url: str, path: str) -> None:
        child.start()
        child.wait_ready(lambda: _answers(url, path), _READY_SEC)


def _http(port: int) -> str:
    return f"http://{LOOPBACK}:{port}"


def _answers(url: str, path: str) -> bool:
    with suppress(OSError):
        _get(url + path)
        return True
    return False


def _get_json(url: str) -> Any:
    return msgspec.json.decode(_get(url))


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310  # loopback only
        body: bytes = answer.read()
    return body
