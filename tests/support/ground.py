"""A system on servers that a test may break."""

from dataclasses import dataclass

from app.stack.kafka import KafkaBroker
from app.stack.redis import RedisServer
from support.faults import FaultProxy
from support.reports import Reports
from support.workers import Deployment


@dataclass(frozen=True)
class Ground:
    """All that a test with faults needs."""

    deployment: Deployment
    reports: Reports
    broker: KafkaBroker
    broker_proxy: FaultProxy
    redis: RedisServer
    redis_proxy: FaultProxy
