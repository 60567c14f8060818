"""One process of each role on a simulated exchange, a real Kafka and a real Redis, as `context8` starts them."""

import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from app.stack.ports import free_ports
from app.stack.process import Child
from producer.exchange.server import ExchangeServer
from producer.exchange.sim import SimMarket
from support.workers import ROOT, Deployment, Worker, eventually

ROLES = ("topics", "producer", "worker", "reader")
SYMBOLS = ("BTCUSDT", "ETHUSDT")


@dataclass
class Roles:
    """The processes; each is its own log's writer."""

    deployment: Deployment
    topics: Child
    producer: Child
    worker: Worker
    reader: Child
    reader_url: str
    producer_url: str

    @property
    def logs(self) -> dict[str, Path]:
        """Where each role writes."""
        return {name: getattr(self, name).log for name in ROLES}

    async def report(self, symbol: str) -> dict[str, Any] | None:
        """What the reader answers, `None` while there is nothing."""
        status, answer = await get(f"{self.reader_url}/get_report?symbol={symbol}")
        return answer if status == 200 else None

    def end(self) -> dict[str, int | None]:
        """Stop all that still runs, sources first; return the exit codes."""
        return {name: getattr(self, name).stop() for name in ROLES}


async def get(url: str) -> tuple[int, Any]:
    """Return status and content of an answer in JSON, 0 while nobody answers."""
    try:
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return answer.status, msgspec.json.decode(await answer.read())
    except (OSError, aiohttp.ClientError):
        return 0, None


@asynccontextmanager
async def running(deployment: Deployment, env: Mapping[str, str]) -> AsyncIterator[Roles]:
    """Run every role with `env` until each symbol has its report."""
    config, folder = deployment.settings, deployment.folder
    reader_port, producer_port = free_ports(2)
    market = SimMarket(list(SYMBOLS), seed=7, rate=100, start_ns=time.time_ns())
    async with ExchangeServer(market) as exchange:
        shared = {
            "KAFKA_BROKERS": config.kafka_brokers,
            "REDIS_URL": config.redis_url,
            "EVENTS_TOPIC": config.events_topic,
            "WORKER_GROUP": config.worker_group,
            "EVENTS_PARTITIONS": str(config.events_partitions),
            "BINANCE_HTTP_URL": exchange.http_url,
            "BINANCE_WS_URL": exchange.ws_url,
            "SYMBOLS": ",".join(SYMBOLS),
            "READER_PORT": str(reader_port),
            "PRODUCER_HTTP_PORT": str(producer_port),
            "TIMEOUT_MS": "1000",
            **env,
        }

        def role(name: str) -> Child:
            command = [sys.executable, "-m", "app.cli", name]
            return Child(name, command, log=folder / f"{name}.log", env=shared | {"NT_NODE_ID": name}, cwd=ROOT)

        roles = Roles(
            deployment,
            role("topics"),
            role("producer"),
            deployment.worker("worker", **env),
            role("reader"),
            f"http://127.0.0.1:{reader_port}",
            f"http://127.0.0.1:{producer_port}",
        )
        with ExitStack() as stack:
            stack.enter_context(roles.topics)
            await eventually(lambda: _ended(roles.topics), "topics are made")
            for child in (roles.producer, roles.worker, roles.reader):
                stack.enter_context(child)
            for symbol in SYMBOLS:
                await eventually(lambda symbol=symbol: roles.report(symbol), f"a report of {symbol}")  # type: ignore[misc]
            yield roles


async def _ended(child: Child) -> bool:
    return not child.running
