"""The table of symbol snapshots: what a worker needs to take a symbol over.

A record is one symbol's engine state under one writer epoch. Its key is `SYMBOL/EPOCH`, not `SYMBOL`: a
paused worker that wakes up after its successor took over may still write to the changelog, which Kafka
does not fence. It then only ever writes under its own, older epoch, and a restore takes the newest epoch.
The successor deletes older epochs once its first snapshot is safe.

Faust's table interface writes only from inside an agent's event. Snapshots are taken by a timer, so this
module writes the two halves of a table itself: RocksDB at once, and the changelog with an awaitable for
the broker's acknowledgement. Source offsets are committed only behind that acknowledgement.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

import faust
import msgspec

TABLE_NAME: Final = "snapshots"
_OFFSET_KEY: Final = b"__faust\0offset__"


class SnapshotRecord(msgspec.Struct, frozen=True):
    """A symbol's engine state as of `epoch`; `state` is `SymbolEngine.snapshot()`."""

    symbol: str
    epoch: int
    state: bytes


def encode_key(symbol: str, epoch: int) -> bytes:
    """Return the table key of a symbol's snapshot under an epoch."""
    return f"{symbol}/{epoch}".encode()


def decode_key(key: bytes) -> tuple[str, int]:
    """Return symbol and epoch of a table key."""
    symbol, _, epoch = key.decode().rpartition("/")
    return symbol, int(epoch)


def newest(records: Iterable[SnapshotRecord]) -> dict[str, SnapshotRecord]:
    """Return each symbol's record of the highest epoch."""
    best: dict[str, SnapshotRecord] = {}
    for record in records:
        known = best.get(record.symbol)
        if known is None or record.epoch > known.epoch:
            best[record.symbol] = record
    return best


class SnapshotTable:
    """Snapshots by symbol and epoch; a RocksDB database and a changelog partition per source partition."""

    def __init__(self, app: faust.App, partitions: int) -> None:
        self._table: Any = app.Table(
            TABLE_NAME,
            key_type=bytes,
            value_type=bytes,
            partitions=partitions,
            # A standby must be up to date at any moment, not after the next thousand writes.
            standby_buffer_size=1,
            options={"driver": "rocksdict"},
            help="engine snapshots by symbol and epoch",
        )

    @property
    def changelog_topic(self) -> str:
        """Name of the changelog topic."""
        return str(self._table.changelog_topic_name)

    def load(self, partition: int) -> dict[str, SnapshotRecord]:
        """Return the newest snapshot of every symbol of `partition` from the local database."""
        database = self._table.data._db_for_partition(partition)
        return newest(
            SnapshotRecord(*decode_key(bytes(key)), state=bytes(value))
            for key, value in database.items()
            if bytes(key) != _OFFSET_KEY
        )

    def epochs(self, partition: int, symbol: str) -> list[int]:
        """Return every epoch under which `symbol` has a snapshot."""
        keys = (bytes(key) for key in self._table.data._db_for_partition(partition).keys())  # noqa: SIM118
        return [epoch for name, epoch in (decode_key(key) for key in keys if key != _OFFSET_KEY) if name == symbol]

    def save(self, partition: int, record: SnapshotRecord) -> asyncio.Future[Any]:
        """Write a snapshot; the future is done when the changelog's brokers have it."""
        return self._write(partition, encode_key(record.symbol, record.epoch), record.state)

    def delete(self, partition: int, symbol: str, epoch: int) -> asyncio.Future[Any]:
        """Delete the snapshot of an old epoch; the future is done when the changelog's brokers have it."""
        return self._write(partition, encode_key(symbol, epoch), None)

    def _write(self, partition: int, key: bytes, value: bytes | None) -> asyncio.Future[Any]:
        database = self._table.data._db_for_partition(partition)
        if value is None:
            database.delete(key)
        else:
            database.put(key, value)
        sent: asyncio.Future[Any] = self._table.send_changelog(partition, key, value)
        return sent
