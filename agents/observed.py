"""What Prometheus is shown of a worker's symbols, and which of them it is shown at all.

Ages are reckoned when Prometheus asks, from what the symbol is then, so that they grow while the event loop hangs.
Rates are those of the last two seconds.

A symbol is shown while this worker owns it, with one exception: a market that was delisted, or that the producer was
told to leave, stays in the table for ever, and its lag would be told for ever. So a symbol of which nothing came for
15 minutes, by the clock and in event time, while events of others came, is not shown until it is heard of again. When
nothing comes at all every symbol stays: then it is the source that fails.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from math import nan
from typing import Final

from agents.owned import Owned
from app import telemetry
from app.symbol_series import OTHER

FORGET_NS: Final = 900 * 10**9
_RATE_NS: Final = 2 * 10**9


class Observed:
    """Shows the symbols of `owned`; `published_ns` says when each one's last report was written (monotonic)."""

    def __init__(
        self,
        owned: Owned,
        published_ns: Mapping[str, int],
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._owned = owned
        self._published_ns = published_ns
        self._monotonic_ns = monotonic_ns
        self._wall_ns = wall_ns
        self._since_ns: dict[str, int] = {}
        self._heard: dict[str, tuple[int, int]] = {}

    def cycle(self) -> None:
        """Bring what is shown in line with what is owned; after each reporting cycle."""
        now_ns = self._monotonic_ns()
        telemetry.HEARTBEAT.set(self._wall_ns() / 1e9)
        present = self._present(now_ns)
        telemetry.SERIES.keep(present)
        RATES.cycle()
        self._since_ns = {name: self._since_ns.get(name, now_ns) for name in present}
        for name in present:
            if telemetry.SERIES.admits(name):
                telemetry.SERIES.of(telemetry.STREAM_LAG_MS, name).set_function(partial(self._lag_ms, name))
                telemetry.SERIES.of(telemetry.REPORT_AGE_MS, name).set_function(partial(self._report_age_ms, name))

    def _present(self, now_ns: int) -> set[str]:
        """Return the symbols to show; those without any event have nothing to be shown."""
        symbols = {name: s.engine for name, s in self._owned.symbols.items() if s.engine.offset >= 0}
        for name, engine in symbols.items():
            seen = self._heard.get(name)
            if seen is None:
                self._heard[name] = (engine.offset, 0)  # what was restored was not heard
            elif seen[0] != engine.offset:
                self._heard[name] = (engine.offset, now_ns)
        self._heard = {name: self._heard[name] for name in symbols}
        newest_ts = max((engine.ts_event for engine in symbols.values()), default=0)
        newest_ns = max((heard_ns for _, heard_ns in self._heard.values()), default=0)
        return {
            name
            for name, engine in symbols.items()
            if newest_ts - engine.ts_event <= FORGET_NS or newest_ns - self._heard[name][1] <= FORGET_NS
        }

    def _lag_ms(self, name: str) -> float:
        symbol = self._owned.symbols.get(name)
        return nan if symbol is None else max(0, self._wall_ns() - symbol.engine.ts_event) / 1e6

    def _report_age_ms(self, name: str) -> float:
        since_ns = self._published_ns.get(name, self._since_ns.get(name))
        return nan if since_ns is None else max(0, self._monotonic_ns() - since_ns) / 1e6


class EventRates:
    """Counts events by symbol and type, and shows how many there were a second."""

    def __init__(self, monotonic_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._monotonic_ns = monotonic_ns
        self._counts: Counter[tuple[str, str]] = Counter()
        self._shown: set[tuple[str, str]] = set()
        self._since_ns = monotonic_ns()

    def count(self, symbol: str, kind: str, count: int) -> None:
        """Take `count` events into account."""
        telemetry.SERIES.of(telemetry.EVENTS, symbol, kind).inc(count)
        self._counts[symbol if symbol in telemetry.SERIES else OTHER, kind] += count

    def cycle(self) -> None:
        """Show new rates when the time for it has come."""
        elapsed_ns = self._monotonic_ns() - self._since_ns
        if elapsed_ns < _RATE_NS:
            return
        # What had none is shown as 0, not as it was; what was forgotten meanwhile is left out.
        self._shown = {
            key for key in self._shown | self._counts.keys() if key[0] in telemetry.SERIES or key[0] == OTHER
        }
        for symbol, kind in self._shown:
            rate = self._counts[symbol, kind] * 1e9 / elapsed_ns
            telemetry.SERIES.of(telemetry.EVENTS_RATE, symbol, kind).set(rate)
        self._counts.clear()
        self._since_ns += elapsed_ns


RATES: Final = EventRates()
