"""The fast cycle: one report per symbol, all published in one round trip.

A report that is refused shows that a newer writer exists: the symbol is fenced at once and never written
again by this worker until it is assigned anew.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from agents.observed import Observed
from agents.owned import Owned, OwnedSymbol
from app import telemetry
from app.microstructure.report import Stamp, encode
from app.stores.base import Publication, ReportStore, StoreUnavailableError

if TYPE_CHECKING:
    from app.traces_worker import WorkerTraces

logger = logging.getLogger(__name__)


class Reports:
    """Publishes reports of `owned` as `node_id`.

    Attributes:
        store_away: the last cycle's reports could not be written.
    """

    def __init__(
        self,
        owned: Owned,
        store: ReportStore,
        node_id: str,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        wall_ns: Callable[[], int] = time.time_ns,
        traces: "WorkerTraces | None" = None,
    ) -> None:
        self._owned = owned
        self._store = store
        self._node_id = node_id
        self._monotonic_ns = monotonic_ns
        self._wall_ns = wall_ns
        self._traces = traces
        self._published_ns: dict[str, int] = {}
        self._publishing = asyncio.Lock()
        self._observed = Observed(owned, self._published_ns, monotonic_ns, wall_ns)
        self.store_away = False

    async def run(self) -> None:
        """Compute and publish one report of every symbol that we may write."""
        async with self._publishing:
            await self._publish([symbol for symbol in self._owned.symbols.values() if symbol.may_publish])
        for name in self._published_ns.keys() - self._owned.symbols.keys():
            del self._published_ns[name]
        self._observed.cycle()

    async def run_first(self) -> None:
        """Publish the first report of symbols that were taken over, as soon as there is one; else do nothing."""
        async with self._publishing:
            await self._publish([s for s in self._owned.symbols.values() if s.may_publish and not s.reported])

    async def _publish(self, symbols: list[OwnedSymbol]) -> None:
        began_ns = self._wall_ns() if self._traces is not None else 0
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
        if epoch is None:
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
        return Publication(engine.symbol, epoch, body)

    def _note(self, publication: Publication, written: bool) -> None:
        name = publication.symbol
        _count_write(name, "ok" if written else "refused")
        symbol = self._owned.symbols.get(name)
        if written:
            self._published_ns[name] = self._monotonic_ns()
            if symbol is not None:
                symbol.reported = True
            return
        telemetry.LEASE_CONFLICTS.inc()
        if symbol is not None and symbol.epoch == publication.epoch:
            symbol.fenced = True
            logger.warning("epoch %d refused: a newer writer exists", publication.epoch, extra={"symbol": name})


def _count_write(symbol: str, status: str) -> None:
    telemetry.SERIES.of(telemetry.CACHE_WRITES, symbol, status).inc()
