"""The slow cycle: liquidity and anomalies of each symbol, spread over time, and never at the cost of reports.

Each symbol has its own due time, so that the work is spread over the fast cycles. While the worker lags
behind its partitions, mode `skip` leaves slow cycles out and counts them: reports go on with the sections of
the last one, and say in `provenance.slow` how old these are. Mode `process` computes them in a process of
its own, from a snapshot of the engine.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from zlib import crc32

from agents.owned import Owned, OwnedSymbol
from app import telemetry
from app.microstructure.engine import EngineParams, SlowSections, SymbolEngine

logger = logging.getLogger(__name__)

Compute = Callable[[SymbolEngine, int], Awaitable[SlowSections]]


class SlowCycles:
    """Computes the slow sections of `owned` when they are due."""

    def __init__(
        self,
        owned: Owned,
        period_ms: int,
        lagging: Callable[[], bool],
        compute: Compute,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._owned = owned
        self._period_ns = period_ms * 1_000_000
        self._lagging = lagging
        self._compute = compute
        self._monotonic_ns = monotonic_ns
        self._running: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Start what is due; a symbol that was never computed goes first, lag or no lag."""
        now_ns = self._monotonic_ns()
        due = [s for s in self._owned.symbols.values() if s.slow_due_ns <= now_ns and s.engine.offset >= 0]
        lagging = bool(due) and self._lagging()
        for symbol in due:
            symbol.slow_due_ns = self._next_due(symbol, now_ns)
            if lagging and symbol.slow is not None:
                telemetry.SLOW_CYCLES.labels("skipped").inc()
                continue
            task = asyncio.ensure_future(self._one(symbol, now_ns))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        await asyncio.sleep(0)

    async def _one(self, symbol: OwnedSymbol, now_ns: int) -> None:
        started = self._monotonic_ns()
        try:
            symbol.slow = await self._compute(symbol.engine, symbol.as_of(now_ns))
        except Exception:  # one symbol's fault must not silence the others
            telemetry.SLOW_CYCLES.labels("failed").inc()
            telemetry.ERRORS.labels("report", "slow").inc()
            logger.exception("no slow sections", extra={"symbol": symbol.engine.symbol})
            return
        telemetry.SLOW_CYCLES.labels("done").inc()
        elapsed_ms = (self._monotonic_ns() - started) / 1e6
        telemetry.SERIES.of(telemetry.CALC_LATENCY_MS, symbol.engine.symbol, "slow").observe(elapsed_ms)

    def _next_due(self, symbol: OwnedSymbol, now_ns: int) -> int:
        if symbol.slow_due_ns:
            return now_ns + self._period_ns
        # The first time, symbols of one moment are spread over the period by their name.
        return now_ns + self._period_ns * (1 + crc32(symbol.engine.symbol.encode()) % 1000) // 1000


async def compute_here(engine: SymbolEngine, as_of: int) -> SlowSections:
    """Compute in this process."""
    return engine.slow_sections(as_of)


def compute_in(executor: Executor, params: EngineParams) -> Compute:
    """Return a way to compute in a process of `executor`."""

    async def compute(engine: SymbolEngine, as_of: int) -> SlowSections:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(executor, _from_snapshot, engine.snapshot(), params, as_of)

    return compute


def _from_snapshot(snapshot: bytes, params: EngineParams, as_of: int) -> SlowSections:
    return SymbolEngine.restore(snapshot, params).slow_sections(as_of)
