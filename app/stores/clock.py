"""The wall time by which a worker dates its reports: the store's, so that all workers have the same.

A host's clock may be an hour off, or leap. Reports dated by it would go back in time when another worker takes over, or
stay in the future until that clock is caught up with. So a worker reads the store's clock where it writes anyway, and
counts on its own monotonic clock in between.
"""

import time
from collections.abc import Callable
from typing import Final

_NANOS_PER_MS: Final = 10**6


class StoreClock:
    """Wall time in ns as the store has it; this host's as long as the store does not say."""

    def __init__(
        self,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._monotonic_ns = monotonic_ns
        self._wall_ns = wall_ns
        self._ahead_ns: int | None = None  # of the monotonic clock

    def asking(self) -> int:
        """Return the moment before the store is asked, for `saw`."""
        return self._monotonic_ns()

    def saw(self, store_ms: int, asked_ns: int) -> None:
        """Take into account that the store's clock was at `store_ms` some time between `asked_ns` and now.

        The answers of an idle store come within a ms, those of a busy one within hundreds. So what is known stays as it
        is while it can be true, and goes no further than it must.
        """
        # The clock was somewhere within that ms.
        least_ns = store_ms * _NANOS_PER_MS - self._monotonic_ns()
        most_ns = (store_ms + 1) * _NANOS_PER_MS - asked_ns
        ahead_ns = self._ahead_ns if self._ahead_ns is not None else (least_ns + most_ns) // 2
        self._ahead_ns = min(max(ahead_ns, least_ns), most_ns)

    def now_ns(self) -> int:
        """Return the wall time in ns."""
        return self._wall_ns() if self._ahead_ns is None else self._monotonic_ns() + self._ahead_ns

    def host_ahead_sec(self) -> float:
        """Return by how many seconds this host's clock is ahead of the store's; negative: behind."""
        return (self._wall_ns() - self.now_ns()) / 1e9
