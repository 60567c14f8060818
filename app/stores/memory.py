"""The report store in a dictionary: the same behaviour as Redis, for tests of the logic around it."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from app.stores.base import EPOCH_LIMIT, Publication, Reading


class MemoryReportStore:
    """`ReportStore` without a server; `now` gives monotonic seconds: it dates reports and decides when they expire."""

    def __init__(self, ttl_sec: float, now: Callable[[], float]) -> None:
        self._ttl_sec = ttl_sec
        self._now = now
        # Its clock is right when it is made, and goes on by `now`.
        self._clock_ms = time.time_ns() // 1_000_000 - int(now() * 1000)
        self._epochs: dict[str, int] = {}
        self._reports: dict[str, tuple[Publication, float]] = {}

    async def take_epochs(self, above: Mapping[str, int]) -> dict[str, int]:
        """See `ReportStore.take_epochs`."""
        taken = {symbol: max(self._epochs.get(symbol, 0), floor) + 1 for symbol, floor in above.items()}
        allowed = {symbol: epoch for symbol, epoch in taken.items() if epoch <= EPOCH_LIMIT}
        self._epochs.update(allowed)
        return allowed

    async def publish(self, publications: Sequence[Publication]) -> list[bool]:
        """See `ReportStore.publish`."""
        return [self._publish(each) for each in publications]

    async def forget(self, epochs: Mapping[str, int]) -> set[str]:
        """See `ReportStore.forget`."""
        ours = {symbol for symbol, epoch in epochs.items() if epoch >= self._epochs.get(symbol, 0)}
        for symbol in ours:
            self._reports.pop(symbol, None)
        return ours

    async def read(self, symbol: str) -> bytes | None:
        """See `ReportStore.read`."""
        reading = self._reading(symbol)
        return reading.body if reading is not None else None

    async def read_many(self, symbols: Iterable[str]) -> dict[str, bytes | None]:
        """See `ReportStore.read_many`."""
        return {symbol: await self.read(symbol) for symbol in symbols}

    async def readings(self, symbols: Iterable[str]) -> dict[str, Reading | None]:
        """Return the newest report of each symbol with its times, `None` where there is none."""
        return {symbol: self._reading(symbol) for symbol in symbols}

    async def symbols(self, limit: int) -> list[str]:
        """Return symbols with a report, sorted, at most `limit`."""
        return sorted(symbol for symbol in self._reports if self._reading(symbol) is not None)[:limit]

    async def close(self) -> None:
        """Nothing to give back."""

    def _reading(self, symbol: str) -> Reading | None:
        now = self._now()
        report, written = self._reports.get(symbol, (None, 0.0))
        if report is None or now >= written + self._ttl_sec:
            return None
        return Reading(report.body, now, self._at_ms(now), self._at_ms(written), report.epoch)

    def _at_ms(self, now: float) -> int:
        return self._clock_ms + int(now * 1000)

    def _publish(self, publication: Publication) -> bool:
        if publication.epoch < self._epochs.get(publication.symbol, 0):
            return False
        self._epochs[publication.symbol] = publication.epoch
        self._reports[publication.symbol] = (publication, self._now())
        return True
