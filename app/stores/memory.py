"""The report store in a dictionary: the same behaviour as Redis, for tests of the logic around it."""

from collections.abc import Callable, Mapping, Sequence

from app.stores.base import EPOCH_LIMIT, Publication


class MemoryReportStore:
    """`ReportStore` without a server; `now` gives seconds and decides when reports expire."""

    def __init__(self, ttl_sec: float, now: Callable[[], float]) -> None:
        self._ttl_sec = ttl_sec
        self._now = now
        self._epochs: dict[str, int] = {}
        self._reports: dict[str, tuple[bytes, float]] = {}

    async def take_epochs(self, above: Mapping[str, int]) -> dict[str, int]:
        """See `ReportStore.take_epochs`."""
        taken = {symbol: max(self._epochs.get(symbol, 0), floor) + 1 for symbol, floor in above.items()}
        allowed = {symbol: epoch for symbol, epoch in taken.items() if epoch <= EPOCH_LIMIT}
        self._epochs.update(allowed)
        return allowed

    async def publish(self, publications: Sequence[Publication]) -> list[bool]:
        """See `ReportStore.publish`."""
        return [self._publish(each) for each in publications]

    async def read(self, symbol: str) -> bytes | None:
        """See `ReportStore.read`."""
        body, expires = self._reports.get(symbol, (None, 0.0))
        return body if self._now() < expires else None

    async def read_many(self, symbols: Sequence[str]) -> list[bytes | None]:
        """Return the newest report of each symbol."""
        return [await self.read(symbol) for symbol in symbols]

    async def symbols(self, limit: int) -> list[str]:
        """Return symbols with a report, sorted, at most `limit`."""
        now = self._now()
        return sorted(symbol for symbol, (_, expires) in self._reports.items() if now < expires)[:limit]

    async def close(self) -> None:
        """Nothing to give back."""

    def _publish(self, publication: Publication) -> bool:
        if publication.epoch < self._epochs.get(publication.symbol, 0):
            return False
        self._epochs[publication.symbol] = publication.epoch
        self._reports[publication.symbol] = (publication.body, self._now() + self._ttl_sec)
        return True
