"""One case against one adapter: a server, a client, a fault, and what was published until all was well again."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from app.stack.ports import free_ports
from producer.exchange.server import ExchangeServer
from producer.exchange.sim import SimMarket
from producer.faults.adapters import Adapter
from producer.faults.cases import OTHER, SYMBOL, Case
from producer.faults.judge import Judge, SymbolVerdict
from producer.faults.truth import TrueMarket

RATE = 200.0
_LOOK = 0.01


@dataclass(frozen=True)
class Outcome:
    """What became of a case; seconds from the fault.

    Attributes:
        told: when the book was first said to be unknown, `None` where it never was.
        recovered: since when the published book was right and went on, `None` where it did not in time.
        verdict: of the symbol that was struck.
        other: of the other one.
        stood_still: for how long nothing had been published of the struck symbol at the end.
    """

    told: float | None
    recovered: float | None
    verdict: SymbolVerdict
    other: SymbolVerdict
    stood_still: float


async def run_trial(case: Case, make: Callable[[Judge], Adapter], seed: int, limit: float) -> Outcome:
    """Run a case and return its outcome, after `limit` seconds at the latest.

    Raises:
        TimeoutError: not even before the fault did data flow.
    """
    clock = _skewed(case.skew)
    market = TrueMarket(SimMarket([SYMBOL, OTHER], seed=seed, rate=RATE, start_ns=clock()))
    judge = Judge(market)
    server = ExchangeServer(market, port=free_ports(1)[0], clock=clock)
    adapter = make(judge)
    try:
        if case.down_for:
            struck_at = time.monotonic()
            starting = asyncio.create_task(adapter.start(server.http_url, server.ws_url, [SYMBOL, OTHER]))
            await asyncio.sleep(case.down_for)
            await server.start()
            await starting
        else:
            await server.start()
            await adapter.start(server.http_url, server.ws_url, [SYMBOL, OTHER])
            async with asyncio.timeout(20):
                await _until(lambda: all(verdict.recovered for verdict in judge.verdicts.values()))
            judge.watch()
            struck_at = time.monotonic()
            for fault in case.faults:
                server.faults.inject(fault)
        with suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await _recovered(server, judge)
        ended_at = time.monotonic()
    finally:
        await adapter.stop()
        await server.stop()
    verdict = judge.verdicts[SYMBOL]
    return Outcome(
        told=_since(struck_at, verdict.unknown_at),
        recovered=_since(struck_at, verdict.right_since) if verdict.recovered else None,
        verdict=verdict,
        other=judge.verdicts[OTHER],
        stood_still=ended_at - max(struck_at, verdict.newest_at),
    )


async def _recovered(server: ExchangeServer, judge: Judge) -> None:
    """Wait until every fault has taken effect and everything flows, rightly."""
    await _until(lambda: not server.faults.pending)
    for verdict in judge.verdicts.values():
        verdict.streak = 0
    await _until(lambda: all(verdict.recovered for verdict in judge.verdicts.values()))


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  (what is waited for has no event of its own)
        await asyncio.sleep(_LOOK)


def _skewed(seconds: float) -> Callable[[], int]:
    offset = int(seconds * 1e9)
    return lambda: time.time_ns() + offset


def _since(start: float, moment: float | None) -> float | None:
    return None if moment is None else moment - start
