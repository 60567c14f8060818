"""The report store: who may write, what is written, what is read.

A symbol has a *writer epoch*, a number that rises by one whenever a worker takes the symbol over. Each
publish carries the writer's epoch and is refused when a newer one is known, in one atomic step, so that a
worker that was paused or cut off can never overwrite its successor's report.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

EPOCH_WARN: Final = 2**62
EPOCH_KEPT_SEC: Final = 86_400
EPOCH_LIMIT: Final = 2**63 - 1000  # Redis counts in signed 64-bit integers and must never wrap


class StoreUnavailableError(Exception):
    """The store cannot be reached, did not answer in time or refuses; trying again later is right.

    Attributes:
        kind: why, in a word to count by; `unavailable` where there is no better one.
    """

    def __init__(self, message: str, kind: str = "unavailable") -> None:
        super().__init__(message)
        self.kind = kind


class Publication(msgspec.Struct, frozen=True):
    """One report to write: `body` is its JSON, `epoch` the writer's right to write it, `offset` what it goes up to."""

    symbol: str
    epoch: int
    body: bytes
    offset: int = -1


class Reading(msgspec.Struct, frozen=True, gc=False):
    """A report as it was read, with what the store knows of the time at which it was written.

    The three times of the store are on its own clock, whichever that is: only their differences mean anything.

    Attributes:
        body: the report's JSON.
        at: monotonic seconds of this process at which the read began.
        store_ms: the store's clock at the read, in ms; `None` where it does not say.
        written_ms: the same clock when a report was written last, in ms; `None` where it did not note that.
        epoch: the writer epoch of that report. It is another than that of `body` where `body` was written by a worker
            of a version that has no time noted.
    """

    body: bytes
    at: float
    store_ms: int | None = None
    written_ms: int | None = None
    epoch: int | None = None


class ReportStore(Protocol):
    """Reports and epochs. Every method may raise `StoreUnavailableError`."""

    async def take_epochs(self, above: Mapping[str, int]) -> dict[str, int]:
        """Return a new epoch for each symbol, greater than every earlier one and than `above[symbol]`.

        `above` is the newest epoch in the table: it keeps epochs rising when the store was emptied. A
        symbol whose next epoch would pass `EPOCH_LIMIT` is missing in the answer: it must not be written
        any more until an operator has decided how to go on.
        """

    async def publish(self, publications: Sequence[Publication]) -> list[bool]:
        """Write each report whose epoch is not older than the newest known; say for each whether it was."""

    async def forget(self, epochs: Mapping[str, int]) -> set[str]:
        """Delete the report of each symbol whose epoch is not older than the newest known; return which those are.

        Their epochs are kept for a day: until then a new one is greater, whatever the table knows.
        """

    async def read(self, symbol: str) -> bytes | None:
        """Return the newest report's JSON, `None` if there is none or it has expired."""

    async def read_many(self, symbols: Iterable[str]) -> dict[str, bytes | None]:
        """Return the same for each of any number of symbols, without a connection or a round trip for each."""

    async def close(self) -> None:
        """Give connections back."""
