"""The report store: who may write, what is written, what is read.

A symbol has a *writer epoch*, a number that rises by one whenever a worker takes the symbol over. Each
publish carries the writer's epoch and is refused when a newer one is known, in one atomic step, so that a
worker that was paused or cut off can never overwrite its successor's report.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import msgspec

EPOCH_WARN: Final = 2**62
EPOCH_LIMIT: Final = 2**63 - 1000  # Redis counts in signed 64-bit integers and must never wrap

REPORT_KEY: Final = "report:"
HEAVY_SUFFIX: Final = ":heavy"
EPOCH_KEY: Final = "report:writer:token:"
# Whoever listens here hears the symbol of each report as it is written.
CHANGES_CHANNEL: Final = "report:changes"
# And here, where traces are on, which reports contain a traced event.
TRACES_CHANNEL: Final = "report:traces"


class StoreUnavailableError(Exception):
    """The store cannot be reached, did not answer in time or refuses; trying again later is right."""


class Publication(msgspec.Struct, frozen=True):
    """One report to write: `body` is its JSON, `epoch` the writer's right to write it."""

    symbol: str
    epoch: int
    body: bytes


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

    async def read(self, symbol: str) -> bytes | None:
        """Return the newest report's JSON, `None` if there is none or it has expired."""

    async def close(self) -> None:
        """Give connections back."""
