"""Events that come twice, and go on doing so: two producers write the same symbol.

Reports are not wrong then, for the engine knows trades and book updates by their ids. But each costs its work twice,
and where one producer lags or loses something, chance decides whose events count. A batch that was sent again comes
twice, too, once: so it takes `LASTING_SEC` of it, in `LOOKS` looks, to be a problem.

What a worker reads again after a takeover is known by its offset and is not counted. Nor is anything while events wait
in the topic: they may be from yesterday.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from agents.owned import Owned
from app import telemetry
from app.microstructure.engine import SymbolEngine

logger = logging.getLogger(__name__)

LASTING_SEC: Final = 10.0
LOOKS: Final = 5
FORGET_SEC: Final = 30.0


@dataclass(slots=True)
class _Seen:
    """What one engine has counted so far, and since when it has counted events that came twice."""

    engine: SymbolEngine
    repeated: int = 0
    begun_again: int = 0
    since: float = 0.0
    last: float = 0.0
    looks: int = 0


class Repeats:
    """Looks at the engines of `owned` once a second or so; `catching_up` says whether events wait in the topic."""

    def __init__(
        self, owned: Owned, catching_up: Callable[[], bool], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._owned = owned
        self._catching_up = catching_up
        self._monotonic = monotonic
        self._seen: dict[str, _Seen] = {}

    def look(self) -> None:
        """Count what came twice since the last look."""
        now, live = self._monotonic(), not self._catching_up()
        engines = {name: symbol.engine for name, symbol in self._owned.symbols.items()}
        self._seen = {name: self._of(name, engine) for name, engine in engines.items()}
        for name, seen in self._seen.items():
            if live:
                self._count(name, seen, now)
            seen.repeated, seen.begun_again = seen.engine.repeated, seen.engine.ids_begun_again

    def lasting(self) -> dict[str, float]:
        """Return for how many seconds events of a symbol have come twice, where that lasts."""
        now = self._monotonic()
        return {
            name: seen.last - seen.since
            for name, seen in self._seen.items()
            if seen.looks >= LOOKS and seen.last - seen.since >= LASTING_SEC and now - seen.last <= FORGET_SEC
        }

    def _of(self, name: str, engine: SymbolEngine) -> _Seen:
        seen = self._seen.get(name)
        return seen if seen is not None and seen.engine is engine else _Seen(engine)

    def _count(self, name: str, seen: _Seen, now: float) -> None:
        repeated = seen.engine.repeated - seen.repeated
        begun_again = seen.engine.ids_begun_again - seen.begun_again
        if name in telemetry.SERIES:  # at 0 from the start: Prometheus cannot see a counter rise that was not there
            telemetry.SERIES.of(telemetry.REPEATED, name).inc(repeated)
            telemetry.SERIES.of(telemetry.IDS_BEGAN_AGAIN, name).inc(begun_again)
        if begun_again:
            logger.warning("trade ids begin again at small ones", extra={"symbol": name})
        if not repeated:
            return
        if not seen.looks or now - seen.last > FORGET_SEC:
            seen.since, seen.looks = now, 0
        seen.last = now
        seen.looks += 1
