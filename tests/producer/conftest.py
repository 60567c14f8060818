"""What the producer's tests share: NautilusTrader, imported once and quietly, and waiting for something."""

import asyncio
import warnings
from collections.abc import Awaitable, Callable

import pytest

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
