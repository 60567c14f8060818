"""The table of symbol snapshots: what a worker needs to take a symbol over.

Faust's table interface writes only from inside an agent's event. Snapshots are taken by a timer, so this
module writes the two halves of a table itself: the changelog, with an awaitable for the broker's
acknowledgement, and then RocksDB. Source offsets are committed only behind that acknowledgement.

What is written under which key is told in `tables.parts`.
"""

import asyncio
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Final

import faust
from faust.types import TP

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
        self.partitions = partitions
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
        self._table._on_changelog_sent = _ignore  # it would move the offset over what others have written

    @property
    def changelog_topic(self) -> str:
        """Name of the changelog topic."""
        return str(self._table.changelog_topic_name)

    def next_offset(self, partition: int) -> int:
        """Return the offset of the first changelog record that the local database does not have."""
        known = self._table.data.persisted_offset(TP(self.changelog_topic, partition))
        return 0 if known is None else int(known) + 1

    def catch_up(self, partition: int, values: Mapping[bytes, bytes | None], offset: int) -> None:
        """Take what the changelog has up to `offset`, its newest value of each key; `None` deletes."""
        database = self._database(partition)
        for key, value in values.items():
            if value is None:
                database.delete(key)
            else:
                database.put(key, value)
        self._table.data.set_persisted_offset(TP(self.changelog_topic, partition), offset)

    def load(self, partition: int, end: int | None = None) -> dict[str, Found]:
        """Return the newest snapshot below offset `end` of every symbol of `partition` from the local database."""
        items = ((bytes(key), bytes(value)) for key, value in self._database(partition).items())
        return newest(((key, value) for key, value in items if key != _OFFSET_KEY), end)

    def write(self, partition: int, values: Mapping[bytes, bytes]) -> asyncio.Future[Any]:
        """Write in this order; the future is done when the changelog's brokers and our database have all of it."""
        telemetry.CHANGELOG_BYTES.inc(sum(map(len, values.values())))
        return self._send(partition, values)

    def delete(self, partition: int, keys: Iterable[bytes]) -> asyncio.Future[Any]:
        """Delete `keys`; the future is done when the changelog's brokers and the local database know."""
        return self._send(partition, dict.fromkeys(keys))

    def _send(self, partition: int, values: Mapping[bytes, bytes | None]) -> asyncio.Future[Any]:
        sent = []
        for key, value in values.items():
            sent.append(self._table.send_changelog(partition, key, value))
            sent[-1].add_done_callback(partial(self._acknowledged, partition, key, value))
        acknowledged = asyncio.gather(*sent)
        acknowledged.add_done_callback(_note_outcome)
        # Shielded: whoever stops waiting must not take back what Faust has in hand.
        return asyncio.shield(acknowledged)

    def _acknowledged(self, partition: int, key: bytes, value: bytes | None, sent: asyncio.Future[Any]) -> None:
        """Take an acknowledged record into the local database, which so never has what the changelog has not.

        Its offset moves on only if nothing lies between. Else somebody else has written to the changelog since we
        read it, and the next recovery must read that.
        """
        if sent.cancelled() or sent.exception() is not None:
            return
        database, store, result = self._database(partition), self._table.data, sent.result()
        persisted = store.persisted_offset(result.topic_partition)
        known = -1 if persisted is None else persisted
        if result.offset <= known:
            return  # read again meanwhile, with all that came after it
        if value is None:
            database.delete(key)
        else:
            database.put(key, value)
        if result.offset == known + 1:
            store.set_persisted_offset(result.topic_partition, result.offset)

    def _database(self, partition: int) -> Any:
        return self._table.data._db_for_partition(partition)


def _ignore(_: Any) -> None:
    pass


def _note_outcome(done: asyncio.Future[Any]) -> None:
    """Keep asyncio from complaining that nobody asked, when nobody waits any more."""
    if not done.cancelled():
        done.exception()
