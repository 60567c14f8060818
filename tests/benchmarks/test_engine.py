"""How long the engine takes for one trade, one diff, one report and one slow cycle, on the recorded tape.

`make bench` runs these; they are skipped in the test run. Figures and what they mean: docs/performance.md.
"""

import asyncio
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from agents.slow import compute_in
from app.microstructure.engine import EngineParams, SymbolEngine
from app.microstructure.events import Event, OrderBookDeltas, TradeTick
from app.microstructure.report import Stamp, encode
from support.contracts import unchecked_reports
from support.markets import SECOND
from support.tapes import tape_events

pytestmark = [pytest.mark.tape, pytest.mark.timeout(600)]

STAMP = Stamp("bench", 1, 0, 0)


@pytest.fixture(scope="module")
def events(tape_path: Path) -> list[Event]:
    return tape_events(tape_path)


def engine_after(events: list[Event]) -> SymbolEngine:
    engine = SymbolEngine("BTCUSDT", EngineParams())
    for offset, event in enumerate(events):
        engine.apply(event, offset)
    return engine


@pytest.mark.parametrize("kind", [TradeTick, OrderBookDeltas], ids=["trade", "diff"])
def test_applying_an_event(benchmark: Any, events: list[Event], kind: type[Event]) -> None:
    """One event of a kind, in the middle of the stream it belongs to."""
    engine = SymbolEngine("BTCUSDT", EngineParams())
    numbered = enumerate(events)

    def upto_next() -> tuple[tuple[Event, int], dict[str, Any]]:
        for offset, event in numbered:
            if type(event) is kind:
                return (event, offset), {}
            engine.apply(event, offset)
        raise StopIteration

    rounds = sum(type(event) is kind for event in events)
    benchmark.extra_info["levels"] = _levels(events) if kind is OrderBookDeltas else None
    benchmark.pedantic(engine.apply, setup=upto_next, rounds=rounds, iterations=1)


def _levels(events: list[Event]) -> float:
    sizes = [len(e.payload.bids) + len(e.payload.asks) for e in events if isinstance(e, OrderBookDeltas)]
    return sum(sizes) / len(sizes)


def test_a_fast_report_with_its_json(benchmark: Any, events: list[Event]) -> None:
    engine = engine_after(events)
    slow = engine.slow_sections(engine.ts_event)
    with unchecked_reports():
        body = benchmark(lambda: encode(engine.report(engine.ts_event, STAMP, slow)))
    benchmark.extra_info["bytes"] = len(body)


def test_a_slow_cycle(benchmark: Any, events: list[Event]) -> None:
    engine = engine_after(events)
    benchmark(lambda: engine.slow_sections(engine.ts_event + SECOND))


def test_a_snapshot(benchmark: Any, events: list[Event]) -> None:
    engine = engine_after(events)
    benchmark.extra_info["bytes"] = len(benchmark(engine.snapshot))


def test_a_restore(benchmark: Any, events: list[Event]) -> None:
    snapshot = engine_after(events).snapshot()
    benchmark(lambda: SymbolEngine.restore(snapshot, EngineParams()))


def test_a_slow_cycle_in_a_process_of_its_own(benchmark: Any, events: list[Event]) -> None:
    """The whole way there and back, as SLOW_CYCLE_MODE=process goes it."""
    engine = engine_after(events)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        compute = compute_in(pool, EngineParams())

        async def there_and_back() -> None:
            await compute(engine, engine.ts_event + SECOND)

        with asyncio.Runner() as runner:
            benchmark(lambda: runner.run(there_and_back()))
