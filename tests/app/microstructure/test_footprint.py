"""How much a symbol weighs: memory with full windows, and its report on the recorded tape."""

import gc
import random
import statistics
import tracemalloc
from pathlib import Path

import pytest

from app.microstructure.engine import EngineParams, SymbolEngine
from app.microstructure.events import Side
from app.microstructure.report import Stamp, encode
from support.markets import SECOND, START, deltas, snapshot, trade
from support.tapes import tape_events
from support.telling import Tell

STAMP = Stamp("node-1", 1, 0, START)
LIMIT_BYTES = 2_000_000


def full_windows() -> SymbolEngine:
    """Half an hour of trades over a wide range of prices, a deep book, and 30 s at 190 trades a second."""
    chance = random.Random(7)
    engine = SymbolEngine("BTCUSDT", EngineParams())
    bids = [(60_000.00 - n / 100, chance.uniform(0.001, 9.0)) for n in range(1500)]
    asks = [(60_000.01 + n / 100, chance.uniform(0.001, 9.0)) for n in range(1500)]
    engine.apply(snapshot(1000, bids, asks), 0)
    now, update_id, number = START, 1000, 0

    def step(seconds: float, rate: float) -> None:
        nonlocal now, update_id, number
        end = now + int(seconds * SECOND)
        while now < end:
            now += int(SECOND / rate)
            number += 1
            price = 60_000 + round(chance.gauss(0, 150), 2)
            side: Side = "buy" if chance.random() < 0.5 else "sell"
            engine.apply(trade(number, price, chance.uniform(1e-5, 2), side, at=now), engine.offset + 1)
            if number % 20 == 0:
                changes = [(chance.choice(bids)[0], chance.uniform(0.0, 9.0)) for _ in range(18)]
                update_id += 1
                engine.apply(deltas(update_id, update_id, changes, at=now), engine.offset + 1)

    step(1800, 10)
    step(30, 190)
    return engine


def test_a_symbol_with_full_windows_takes_at_most_two_megabytes(tell: Tell) -> None:
    full_windows()  # what is made once for all symbols is no symbol's weight
    gc.collect()
    tracemalloc.start()
    try:
        engine = full_windows()
        gc.collect()
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    tell(f"{used / 1e6:.2f} MB a symbol, snapshot {len(engine.snapshot()) / 1e3:.0f} KB")
    assert used < LIMIT_BYTES


@pytest.mark.tape
def test_reports_on_the_tape_are_small(tape_path: Path, tell: Tell) -> None:
    engine = SymbolEngine("BTCUSDT", EngineParams())
    sizes = []
    for offset, event in enumerate(tape_events(tape_path)):
        engine.apply(event, offset)
        if offset % 50 == 0:
            sizes.append(len(encode(engine.report(engine.ts_event, STAMP))))
    tell(f"report: median {statistics.median(sizes):.0f} bytes, largest {max(sizes)}")
    assert statistics.median(sizes) < 10_000
    assert max(sizes) < 100_000
