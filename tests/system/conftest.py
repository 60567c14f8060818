"""Servers that a test may break, and the system on top of them."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from app.stack.kafka import KafkaBroker
from app.stack.ports import free_ports
from app.stack.redis import RedisServer
from support.faults import FaultProxy
from support.ground import Ground
from support.reports import Reports
from support.servers import started
from support.streams import SYMBOLS
from support.workers import Deployment


@pytest.fixture(scope="module")
def breakable_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[KafkaBroker, FaultProxy]]:
    """Give a broker of this module's own, and a proxy to it; both run when a test begins."""
    (via,) = free_ports(1)
    broker = started(lambda: KafkaBroker(tmp_path_factory.mktemp("breakable-kafka"), via=via))
    try:
        with FaultProxy(broker.behind, via) as proxy:
            yield broker, proxy
    finally:
        broker.stop()


@pytest.fixture
def breakable_redis(tmp_path: Path) -> Iterator[tuple[RedisServer, FaultProxy]]:
    """Give a Redis of this test's own, and a proxy to it."""
    server = started(lambda: RedisServer(tmp_path / "redis"))
    try:
        with FaultProxy(server.port) as proxy:
            yield server, proxy
    finally:
        server.kill()


@pytest.fixture
async def ground(
    breakable_kafka: tuple[KafkaBroker, FaultProxy],
    breakable_redis: tuple[RedisServer, FaultProxy],
    topic_prefix: str,
    tmp_path: Path,
) -> AsyncIterator[Ground]:
    """Give servers that may be broken, with topics made; whatever is broken is mended for the next test."""
    broker, broker_proxy = breakable_kafka
    server, redis_proxy = breakable_redis
    if not broker.running:
        broker.start()
    broker_proxy.restore()
    deployment = Deployment(broker.bootstrap, server.url, topic_prefix, tmp_path, session_timeout_ms=1000)
    await deployment.create_topics()
    reports = Reports(server.url, SYMBOLS)
    yield Ground(deployment, reports, broker, broker_proxy, server, redis_proxy)
    await reports.close()


@pytest.fixture
async def deployment(kafka: str, redis_url: str, topic_prefix: str, tmp_path: Path) -> Deployment:
    """Give the session's servers, with topics of this test's own made."""
    made = Deployment(kafka, redis_url, topic_prefix, tmp_path)
    await made.create_topics()
    return made
