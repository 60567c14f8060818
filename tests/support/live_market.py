"""Reports as a worker would have written them: the synthetic market through the product's own engine."""

import time
from collections.abc import Iterator
from typing import Final

import msgspec

from app.microstructure.engine import EngineParams, SlowSections, SymbolEngine
from app.microstructure.report import Stamp, encode
from app.scorecard.streams import simulated

_NS: Final = 1_000_000_000
_SLOW_NS: Final = 2 * _NS


def reports(symbol: str, *, seconds: float, every: float = 0.5, seed: int = 7, rate: float = 60.0) -> Iterator[bytes]:
    """Yield a report of each `every` seconds of market, the last one written about now."""
    stream = simulated(symbol, seed=seed, rate=rate, seconds=seconds)
    engine = SymbolEngine(symbol, EngineParams())
    shift = time.time_ns() - (stream.start + round(seconds * _NS))
    due = stream.start + shift + round(every * _NS)
    slow: SlowSections | None = None
    for offset, recorded in enumerate(stream.events):
        event = msgspec.structs.replace(recorded, ts_event=recorded.ts_event + shift)
        while event.ts_event > due:
            if slow is None or due - slow.as_of >= _SLOW_NS:
                slow = engine.slow_sections(due)
            yield encode(engine.report(due, Stamp("worker-1", 2**63 - 1001, 3, due), slow))
            due += round(every * _NS)
        engine.apply(event, offset)
