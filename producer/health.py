"""`/health` and `/metrics` of the producer, on loopback unless `METRICS_HOST` says otherwise.

`/health` answers 200 where events flow and 503 where something keeps them from flowing, with the same JSON:
what was checked, and `problems`, one line each; `/health/ready` is the same. It is no reason for a restart: a producer
that waits for Kafka or for the exchange goes on by itself. `/health/live` answers 200 while the event loop turns.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from producer.metrics import Metrics


class SymbolHealth(msgspec.Struct, frozen=True, kw_only=True):
    """One symbol.

    Attributes:
        event_age_ms: time since its newest event arrived, `None` before the first.
        resyncs: how often its book was given up, the beginning included.
        book_known: whether its book is known.
        book_unknown_ms: for how long it has not been.
        best_compared: how often its best bid and ask were compared with the exchange's own.
        best_equal: how often they were the same.
        ended: streams that have ended while others go on; they are asked for anew.
    """

    event_age_ms: int | None
    resyncs: int
    book_known: bool = False
    book_unknown_ms: int = 0
    best_compared: int = 0
    best_equal: int = 0
    ended: Sequence[str] = ()


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """What `/health` checks.

    Attributes:
        publish_ms: from an event to Kafka's acknowledgement, the oldest of the newest batch.
        oldest_waiting_ms: for how long the oldest event has waited for Kafka.
        refused: symbols that are wanted and not subscribed to, and why; the others go on, so it is no problem.
        best_equal_ratio: share of comparisons with the exchange's best bid and ask that were equal.
    """

    exchange_connected: bool
    kafka_reachable: bool
    queue_depth: int
    queue_limit: int
    publish_ms: int | None
    oldest_waiting_ms: int
    best_equal_ratio: float | None
    symbols: Mapping[str, SymbolHealth]
    refused: Mapping[str, str]
    problems: list[str]


class Arrivals:
    """When each symbol's newest event arrived, by the monotonic clock."""

    def __init__(self) -> None:
        self._arrived: dict[str, float | None] = {}

    def expect(self, symbols: Iterable[str]) -> None:
        """Events of these symbols should come."""
        self._arrived.update(dict.fromkeys(symbols))

    def forget(self, symbols: Iterable[str]) -> None:
        """Events of these symbols should not come any more."""
        for symbol in symbols:
            self._arrived.pop(symbol, None)

    def note(self, symbol: str) -> None:
        """An event of `symbol` arrived now; one that should not come does not count."""
        if symbol in self._arrived:
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
    publish_ms: int | None,
    oldest_waiting_ms: int,
    symbols: Mapping[str, SymbolHealth],
    refused: Mapping[str, str],
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
        elif state.book_unknown_ms > silent_after_ms:
            problems.append(f"book of {symbol} not known for {state.book_unknown_ms} ms")
        problems += [f"stream {kind} of {symbol} has ended" for kind in state.ended]
    compared = sum(state.best_compared for state in symbols.values())
    return Health(
        exchange_connected=exchange_connected,
        kafka_reachable=kafka_reachable,
        queue_depth=queue_depth,
        queue_limit=queue_limit,
        publish_ms=publish_ms,
        oldest_waiting_ms=oldest_waiting_ms,
        best_equal_ratio=sum(state.best_equal for state in symbols.values()) / compared if compared else None,
        symbols=symbols,
        refused=refused,
        problems=problems,
    )


class HealthServer:
    """Serves `check()` and the metrics."""

    def __init__(self, host: str, port: int, check: Callable[[], Health], metrics: Metrics) -> None:
        self._host = host
        self._port = port
        self._check = check
        self._metrics = metrics
        application = web.Application()
        application.router.add_get("/health", self._health)
        application.router.add_get("/health/ready", self._health)
        application.router.add_get("/health/live", self._live)
        application.router.add_get("/metrics", self._scrape)
        self._runner = web.AppRunner(application, access_log=None)

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port is taken.
        """
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()

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

    async def _live(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _scrape(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})
