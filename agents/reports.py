"""The fast cycle: one report per symbol, published some hundred at a time.

Symbols of which something came since their last report go first, and all of them have their report in each cycle. Those
that are new or silent take turns, the one that waits longest first, for as long as half a cycle lasts: however many
there are of them, they are not in the way of a market that moves.

A report that is refused shows that a newer writer exists: the symbol is fenced at once and never written
again by this worker until it is assigned anew.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from itertools import batched, islice
from typing import TYPE_CHECKING, Final

from agents.observed import Observed
from agents.owned import Owned, OwnedSymbol
from app import telemetry
from app.microstructure.report import Stamp, encode
from app.stores.base import Publication, ReportStore, StoreUnavailableError

if TYPE_CHECKING:
    from app.traces_worker import WorkerTraces

logger = logging.getLogger(__name__)

AT_ONCE: Final = 200
"""Reports between which others of this process have a turn, and in one round trip."""


class Reports:
    """Publishes reports of `owned` as `node_id`; silent symbols take at most `silent_sec` of a cycle.

    Attributes:
        store_away: the last cycle's reports could not be written.
        publishing: held while reports are on their way to the store.
    """

    def __init__(
        self,
        owned: Owned,
        store: ReportStore,
        node_id: str,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        wall_ns: Callable[[], int] = time.time_ns,
        traces: "WorkerTraces | None" = None,
        silent_sec: float = 0.125,
    ) -> None:
        self._owned = owned
        self._store = store
        self._node_id = node_id
        self._monotonic_ns = monotonic_ns
        self._wall_ns = wall_ns
        self._traces = traces
        self._silent_ns = int(silent_sec * 1e9)
        self._published_ns: dict[str, int] = {}
        self._published_offset: dict[str, int] = {}
        self.publishing = asyncio.Lock()
        self._observed = Observed(owned, self._published_ns, monotonic_ns, wall_ns)
        self.store_away = False

    async def run(self) -> None:
        """Compute and publish one report of every symbol that we may write and whose turn it is."""
        async with self.publishing:
            moving, silent = self._in_turn()
            for some in batched(moving, AT_ONCE):
                await self._publish(list(some))
            until_ns = self._monotonic_ns() + self._silent_ns
            for some in batched(silent, AT_ONCE):
                await self._publish(list(some))
                if self._monotonic_ns() > until_ns:
                    break
        for name in self._published_ns.keys() - self._owned.symbols.keys():
            del self._published_ns[name], self._published_offset[name]
        self._observed.cycle()

    def _in_turn(self) -> tuple[list[OwnedSymbol], list[OwnedSymbol]]:
        """Return the symbols of which something came since their last report, and the others as they wait."""
        moving, silent = list[OwnedSymbol](), list[OwnedSymbol]()
        for name, symbol in self._owned.symbols.items():
            if symbol.may_publish:
                moves = self._published_offset.get(name, symbol.engine.offset) != symbol.engine.offset
                (moving if moves else silent).append(symbol)
        silent.sort(key=lambda symbol: self._published_ns.get(symbol.engine.symbol, 0))
        return moving, silent

    async def run_first(self) -> None:
        """Publish the first report of some symbols that were taken over, as soon as there is one; else do nothing."""
        async with self.publishing:
            new = (s for s in self._owned.symbols.values() if s.may_publish and not s.reported)
            await self._publish(list(islice(new, AT_ONCE)))

    async def _publish(self, symbols: list[OwnedSymbol]) -> None:
        began_ns = time.time_ns() if self._traces is not None else 0  # by the clock of all other spans
        publications = [each for each in map(self._publication, symbols) if each is not None]
        if not publications:
            return
        traced = self._traces.carried(publications, began_ns) if self._traces is not None else None
        try:
            with telemetry.PUBLISH_SECONDS.time():
                written = await self._store.publish(publications)
            self.store_away = False
        except StoreUnavailableError as error:
            telemetry.ERRORS.labels("store", error.kind).inc()
            self.store_away = True
            logger.warning("%d reports not written: %s", len(publications), error)
            for each in publications:
                _count_write(each.symbol, "unavailable")
        else:
            for each, ok in zip(publications, written, strict=True):
                self._note(each, ok)
            if self._traces is not None and traced is not None:
                self._traces.reported(traced, publications, written)

    def _publication(self, symbol: OwnedSymbol) -> Publication | None:
        engine, epoch = symbol.engine, symbol.epoch
        # Others had a turn since it was found to have one.
        if epoch is None or not symbol.may_publish or self._owned.symbols.get(engine.symbol) is not symbol:
            return None
        started = self._monotonic_ns()
        stamp = Stamp(self._node_id, epoch, symbol.partition, self._wall_ns(), symbol.updated_ns)
        symbol.updated_ns = max(stamp.wall_ns, stamp.not_before_ns)
        try:
            body = encode(engine.report(symbol.as_of(started), stamp, symbol.slow))
        except Exception:  # one symbol's fault must not silence the others
            telemetry.ERRORS.labels("report", "calculation").inc()
            logger.exception("no report", extra={"symbol": engine.symbol})
            return None
        elapsed_ms = (self._monotonic_ns() - started) / 1e6
        telemetry.SERIES.of(telemetry.CALC_LATENCY_MS, engine.symbol, "fast").observe(elapsed_ms)
        return Publication(engine.symbol, epoch, body, engine.offset)

    def _note(self, publication: Publication, written: bool) -> None:
        name = publication.symbol
        _count_write(name, "ok" if written else "refused")
        symbol = self._owned.symbols.get(name)
        if written:
            self._published_ns[name] = self._monotonic_ns()
            self._published_offset[name] = publication.offset
            if symbol is not None:
                symbol.reported = True
            return
        telemetry.LEASE_CONFLICTS.inc()
        if symbol is not None and symbol.epoch == publication.epoch:
            symbol.fenced = True
            logger.warning("epoch %d refused: a newer writer exists", publication.epoch, extra={"symbol": name})


def _count_write(symbol: str, status: str) -> None:
    telemetry.SERIES.of(telemetry.CACHE_WRITES, symbol, status).inc()
