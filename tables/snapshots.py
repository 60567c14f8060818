"""The table of symbol snapshots: what a worker needs to take a symbol over.

Faust's table interface writes only from inside an agent's event. Snapshots are taken by a timer, so this
module writes the two halves of a table itself: RocksDB at once, and the changelog with an awaitable for
the broker's acknowledgement. Source offsets are committed only behind that acknowledgement.

What is written under which key is told in `tables.parts`.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Final

import faust

from app import telemetry
from tables.parts import Found, newest
from tables.store import OPTIONS

TABLE_NAME: Final = "snapshots"
_OFFSET_KEY: Final = b"__faust\0offset__"


class SnapshotTable:
    """Heads and parts by symbol and epoch; a RocksDB database and a changelog partition per source partition.

    The app's `store` must be `tables.store.STORE_URL`.
    """

    def __init__(self, app: faust.App, partitions: int) -> None:
        self._table: Any = app.Table(
            TABLE_NAME,
            key_type=bytes,
            value_type=bytes,
            partitions=partitions,
            # A standby must be up to date at any moment, not after the next thousand writes.
            standby_buffer_size=1,
            options=dict(OPTIONS),
            help="engine snapshots by symbol and epoch",
        )

    @property
    def changelog_topic(self) -> str:
        """Name of the changelog topic."""
        return str(self._table.changelog_topic_name)

    def load(self, partition: int) -> dict[str, Found]:
        """Return the newest snapshot of every symbol of `partition` from the local database."""
        items = ((bytes(key), bytes(value)) for key, value in self._database(partition).items())
        return newest((key, value) for key, value in items if key != _OFFSET_KEY)

    def write(self, partition: int, values: Mapping[bytes, bytes]) -> asyncio.Future[Any]:
        """Write in this order; the future is done when the changelog's brokers have all of it."""
        database = self._database(partition)
        for key, value in values.items():
            database.put(key, value)
        telemetry.CHANGELOG_BYTES.inc(sum(map(len, values.values())))
        return asyncio.gather(*(self._table.send_changelog(partition, key, value) for key, value in values.items()))

    def delete(self, partition: int, keys: Iterable[bytes]) -> asyncio.Future[Any]:
        """Delete `keys`; the future is done when the changelog's brokers know."""
        database, gone = self._database(partition), list(keys)
        for key in gone:
            database.delete(key)
        return asyncio.gather(*(self._table.send_changelog(partition, key, None) for key in gone))

    def _database(self, partition: int) -> Any:
        return self._table.data._db_for_partition(partition)
