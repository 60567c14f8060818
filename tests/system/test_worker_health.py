"""What a worker says of itself: its health while servers come and go."""

from functools import partial
from pathlib import Path

import pytest

from app.stack.kafka import KafkaBroker
from app.stack.redis import RedisServer
from support.worker_markets import market
from support.workers import Deployment, eventually

pytestmark = pytest.mark.stack


async def test_health_names_a_redis_and_a_kafka_that_are_away(topic_prefix: str, tmp_path: Path) -> None:
    broker, server = KafkaBroker(tmp_path / "kafka"), RedisServer(tmp_path / "redis")
    with broker, server:
        deployment = Deployment(broker.bootstrap, server.url, topic_prefix, tmp_path)
        await deployment.create_topics()
        with deployment.worker("w1") as worker:
            await deployment.send(market("BTCUSDT", 10))

            async def healthy() -> bool:
                health = await worker.health()
                return health.get("status") == "ok" and bool(health["symbols"])

            async def problem(name: str) -> bool:
                health = await worker.health()
                return health["status"] == "degraded" and any(name in each for each in health["problems"])

            await eventually(healthy, "all is well")
            server.kill()
            await eventually(partial(problem, "Redis"), "Redis is named")
            server.start()
            await eventually(healthy, "Redis is back, all is well by itself")
            broker.kill()
            await eventually(partial(problem, "Kafka"), "Kafka is named")
            worker.kill()
