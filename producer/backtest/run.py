"""A recording in, a file of reports out: the pieces of this package, joined."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from app.microstructure.engine import EngineParams
from app.microstructure.events import BadEventError, Event, decode
from producer.backtest import output
from producer.backtest.as_of import AsOfReports
from producer.backtest.nautilus import replayed
from producer.backtest.order import EventTimeOrder
from producer.backtest.source import BacktestError, Source

MOST_TIMES: Final = 10_000_000


class Done(msgspec.Struct, frozen=True):
    """What a run did: events applied, and reports written by symbol."""

    events: int
    reports: dict[str, int]


def backtest(source: Source, every_ns: int, params: EngineParams, out: Path, advance: Callable[[int], None]) -> Done:
    """Write the reports at every multiple of `every_ns` to `out`; `advance` gets messages done.

    Raises:
        BacktestError: nothing, too much or something impossible is asked for; `out` is not touched.
        TapeError: the tape changed between its two readings.
    """
    extent = source.extent
    if (extent.last_ns - extent.first_ns) // every_ns > MOST_TIMES:
        raise BacktestError(f"--every is too short: the recording has more than {MOST_TIMES:,} such steps")
    with output.opened(out) as writer:
        reports = AsOfReports(every_ns, params, writer.write)
        order = EventTimeOrder(extent.lateness_ns)
        for symbol, value in replayed(source, advance):
            for at, event in order.push(_decoded(symbol, value)):
                reports.apply(at, event)
        for at, event in order.rest():
            reports.apply(at, event)
        reports.finish()
        if not any(reports.counts.values()):
            raise BacktestError("no report: --every is longer than the recording, which holds no multiple of it")
    return Done(reports.events, reports.counts)


def _decoded(symbol: str, value: bytes) -> Event:
    try:
        return decode(value, symbol.encode())
    except BadEventError as error:
        raise BacktestError(f"an event of {symbol} is not usable: {error}") from None
