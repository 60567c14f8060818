"""`/health` and `/metrics` of the producer on loopback.

`/health` answers 200 where events flow and 503 where something keeps them from flowing, with the same JSON:
what was checked, and `problems`, one line each. It is meant for readiness, not for restarts: a producer that
waits for Kafka or for the exchange goes on by itself.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from producer.metrics import Metrics

HOST: Final = "127.0.0.1"


class SymbolHealth(msgspec.Struct, frozen=True):
    """One symbol; `event_age_ms` is the time since its newest event arrived, `None` before the first."""

    event_age_ms: int | None
    resyncs: int


class Health(msgspec.Struct, frozen=True):
    """What `/health` checks."""

    exchange_connected: bool
    kafka_reachable: bool
    queue_depth: int
    queue_limit: int
    symbols: Mapping[str, SymbolHealth]
    problems: list[str]


class Arrivals:
    """When each symbol's newest event arrived, by the monotonic clock."""

    def __init__(self) -> None:
        self._arrived: dict[str, float | None] = {}

    def expect(self, symbols: Iterable[str]) -> None:
        """Events of these symbols should come."""
        self._arrived = dict.fromkeys(symbols)

    def note(self, symbol: str) -> None:
        """An event of `symbol` arrived now."""
        self._arrived[symbol] = time.monotonic()

    def ages_ms(self) -> dict[str, int | None]:
        """Return the milliseconds since then for each symbol."""
        now = time.monotonic()
        return {
            symbol: None if arrived is None else int((now - arrived) * 1000)
            for symbol, arrived in self._arrived.items()
        }


def assess(
    *,
    exchange_connected: bool,
    kafka_reachable: bool,
    queue_depth: int,
    queue_limit: int,
    symbols: Mapping[str, SymbolHealth],
    silent_after_ms: int,
) -> Health:
    """Return the state with its problems; a symbol is silent after `silent_after_ms` without events."""
    problems = []
    if not exchange_connected:
        problems.append("not connected to the exchange")
    if not kafka_reachable:
        problems.append("Kafka does not answer")
    if queue_depth >= queue_limit:
        problems.append("queue to Kafka is full")
    for symbol, state in symbols.items():
        if state.event_age_ms is None:
            problems.append(f"no event of {symbol} yet")
        elif state.event_age_ms > silent_after_ms:
            problems.append(f"no event of {symbol} for {state.event_age_ms} ms")
    return Health(exchange_connected, kafka_reachable, queue_depth, queue_limit, symbols, problems)


class HealthServer:
    """Serves `check()` and the metrics."""

    def __init__(self, port: int, check: Callable[[], Health], metrics: Metrics) -> None:
        self._port = port
        self._check = check
        self._metrics = metrics
        application = web.Application()
        application.router.add_get("/health", self._health)
        application.router.add_get("/metrics", self._scrape)
        self._runner = web.AppRunner(application, access_log=None)

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port is taken.
        """
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, self._port).start()

    async def stop(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()

    async def _health(self, _: web.Request) -> web.Response:
        health = self._check()
        return web.Response(
            body=msgspec.json.encode(health),
            status=503 if health.problems else 200,
            content_type="application/json",
        )

    async def _scrape(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
