"""The table of symbol snapshots: what a worker needs to take a symbol over.

For Faust it is a table like any other: it has a changelog topic, its partitions come with those of the source topic,
and each has a standby on another worker. What Faust does with a changelog is not used: its recovery puts records
through a queue that is emptied when a rebalance ends, and moves the offset past what it lost. Here a follower reads
the changelog into a database that is a prefix of it at any moment (`tables.follower`, `tables.database`), and writes
go to the changelog only, with an awaitable for the brokers' acknowledgement. Offsets of events are committed only
behind that.

What is written under which key is told in `tables.records`.
"""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from typing import Any, Final

import faust

from app import telemetry
from app.topic_ids import LogId
from tables.database import Database
from tables.records import SymbolRecords, read, symbol_of

TABLE_NAME: Final = "snapshots"
Publish = Callable[[str, int, Iterable[tuple[bytes, bytes | None]]], Coroutine[Any, Any, None]]


class SnapshotTable:
    """Snapshots by symbol and epoch: a changelog partition for each source partition, and their local copies."""

    def __init__(self, app: faust.App, publish: Publish, partitions: int, database: Database) -> None:
        """Hold the table of `app`; `publish` sends to a partition of a topic, in order, and raises KafkaError."""
        self.partitions = partitions
        self.database = database
        self._table: Any = app.Table(
            TABLE_NAME,
            store="memory://",
            key_type=bytes,
            value_type=bytes,
            partitions=partitions,
            help="engine snapshots by symbol and epoch",
        )
        self._publish = publish

    @property
    def changelog_topic(self) -> str:
        """Name of the changelog topic."""
        return str(self._table.changelog_topic_name)

    def load(self, partition: int, version: int, log: LogId | None) -> dict[str, SymbolRecords]:
        """Return what there is of each symbol of `partition`, for a worker of state `version` that reads `log`."""
        return read(self.database.items(partition), version, log)

    def keys_of(self, partition: int, symbols: Collection[str]) -> set[bytes]:
        """Return every key that there is of `symbols`, whoever wrote it."""
        return {key for key, _ in self.database.items(partition) if symbol_of(key) in symbols}

    def write(self, partition: int, values: Mapping[bytes, bytes]) -> asyncio.Future[Any]:
        """Write in this order; the future is done when the changelog's brokers have all of it."""
        telemetry.CHANGELOG_BYTES.inc(sum(map(len, values.values())))
        return self._send(partition, values)

    def delete(self, partition: int, keys: Iterable[bytes]) -> asyncio.Future[Any]:
        """Delete `keys`; the future is done when the changelog's brokers know."""
        return self._send(partition, dict.fromkeys(keys))

    def _send(self, partition: int, values: Mapping[bytes, bytes | None]) -> asyncio.Future[Any]:
        acknowledged = asyncio.ensure_future(self._publish(self.changelog_topic, partition, values.items()))
        acknowledged.add_done_callback(_note_outcome)
        # Shielded: whoever stops waiting must not take back half of what is to be written.
        return asyncio.shield(acknowledged)


def _note_outcome(done: asyncio.Future[Any]) -> None:
    """Keep asyncio from complaining that nobody asked, when nobody waits any more."""
    if not done.cancelled():
        done.exception()
