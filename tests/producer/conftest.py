"""What the producer's tests share: NautilusTrader, imported once and quietly, waiting, and Kafka to write to."""

import asyncio
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from app.stack.kafka import KafkaBroker
from support.producing import create

with warnings.catch_warnings():
    # pandas 2.3 does at import what numpy 2.5 warns of; here warnings are errors.
    warnings.filterwarnings("ignore", "The 'generic' unit for NumPy timedelta", DeprecationWarning)
    import nautilus_trader.config  # noqa: F401


@pytest.fixture
def until() -> Callable[..., Awaitable[None]]:
    """Return what waits until a condition holds, and fails if it does not in time."""

    async def wait(condition: Callable[[], bool], limit_sec: float = 30.0) -> None:
        async with asyncio.timeout(limit_sec):
            while not condition():  # noqa: ASYNC110  (what is waited for has no event of its own)
                await asyncio.sleep(0.01)

    return wait


@pytest.fixture
async def topic(kafka: str, topic_prefix: str) -> str:
    """Give a topic of this test alone."""
    await create(kafka, topic_prefix)
    return topic_prefix


@pytest.fixture
def own_broker(kafka: str, tmp_path: Path) -> KafkaBroker:
    """Give a broker that this test may stop, where one can run at all; it is not started."""
    return KafkaBroker(tmp_path / "kafka")
