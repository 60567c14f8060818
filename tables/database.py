"""The local copy of the changelog: a RocksDB database that holds, of each partition, exactly a prefix of its log.

The copy of a partition is the newest value of each key up to a *position*, the next offset to read. Both are written in
one batch, so that after a crash at any instant the position fits to the contents. A fetch is accepted only if it begins
where the last one ended: offsets alone prove nothing, because compaction leaves holes.

The copy can always be made again from the changelog. So what belongs to another log (the topic was deleted and made
again, or it is another cluster's), what another version wrote and what RocksDB cannot read is thrown away with one
warning, and read again from the start of the log. Where even that fails, because the disk is full or the folder cannot
be written, the worker cannot do its work: `DatabaseError`.
"""

import gc
import logging
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from rocksdict import BlockBasedOptions, Cache, DBCompressionType, Options, Rdict, ReadOptions, WriteBatch

from app import telemetry
from app.topic_ids import LogId
from app.undecodable import UNDECODABLE

logger = logging.getLogger(__name__)

_FORMAT: Final = 1
_POSITION: Final = b"position/"
_VALUE: Final = b"value/"
# A second rebuild within this time is no repair: whatever broke the first is still there.
_REBUILD_AGAIN_SEC: Final = 60.0


class DatabaseError(Exception):
    """The data folder cannot be used; one line says which and why."""


class Position(NamedTuple):
    """How far the copy of a partition goes: `offset` is the next to read of `log`, `None` where it has no id."""

    log: LogId | None
    offset: int


class _StoredPosition(msgspec.Struct, frozen=True, array_like=True):
    format: int
    log: LogId | None
    offset: int


_encode_position = msgspec.msgpack.Encoder().encode
_decode_position = msgspec.msgpack.Decoder(_StoredPosition).decode


class Database:
    """Copies of changelog partitions in `folder`, which this process has for itself."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._db: Rdict | None = None
        self._rebuilt_at: float | None = None
        self._positions: dict[int, Position] = {}

    def open(self) -> None:
        """Open the database; one that cannot be read is made again.

        Raises:
            DatabaseError: the folder cannot be used.
        """
        try:
            self._open()
        except Exception as error:  # RocksDB's errors have no type of their own
            self.rebuild(error)
        gc.collect()
        gc.freeze()  # what was made so far stays: a collection has less to look at

    def close(self) -> None:
        """Close the database."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def rebuild(self, error: Exception) -> None:
        """Throw the database away because of `error`; every position is 0 again.

        Raises:
            DatabaseError: it cannot be made again, or `error` came soon after the last time.
        """
        telemetry.ERRORS.labels("database", "rebuilt").inc()
        now = time.monotonic()
        if self._rebuilt_at is not None and now - self._rebuilt_at < _REBUILD_AGAIN_SEC:
            raise DatabaseError(f"the data folder {self._folder} cannot be used: {error}") from error
        self._rebuilt_at = now
        logger.warning("the tables in %s are made again from the changelog: %s", self._folder, error)
        try:
            self.close()
        except Exception as closing:  # it is thrown away
            logger.debug("closing: %r", closing)
        self._db = None
        shutil.rmtree(self._folder, ignore_errors=True)
        try:
            self._open()
        except Exception as again:
            raise DatabaseError(f"the data folder {self._folder} cannot be used: {again}") from again

    def position(self, partition: int) -> Position:
        """Return how far the copy of `partition` goes."""
        known = self._positions.get(partition)
        if known is None:
            known = self._positions[partition] = self._read_position(partition)
        return known

    def begin(self, partition: int, position: Position) -> None:
        """Forget what is there of `partition`; its copy begins empty at `position`."""
        prefix = _prefix(partition)
        self._open_db.delete_range(prefix, prefix[:-1] + bytes([prefix[-1] + 1]))
        self._write_position(partition, position)

    def adopt(self, partition: int, log: LogId | None) -> None:
        """Note which log the copy of `partition` is of, where that was not known."""
        self._write_position(partition, self.position(partition)._replace(log=log))

    def apply(self, partition: int, start: int, values: Mapping[bytes, bytes | None], end: int) -> None:
        """Take the newest value of each key from offset `start` to `end`, then the position; `None` deletes.

        Raises:
            ValueError: the copy does not end at `start`.
        """
        position = self.position(partition)
        if start != position.offset or end < start:
            raise ValueError(f"changelog {partition}: {start} to {end} does not join on to {position.offset}")
        prefix, batch = _prefix(partition), WriteBatch(raw_mode=True)
        for key, value in values.items():
            if value is None:
                batch.delete(prefix + key)
            else:
                batch.put(prefix + key, value)
        after = position._replace(offset=end)
        batch.put(_position_key(partition), _encode_position(_StoredPosition(_FORMAT, *after)))
        self._open_db.write(batch)
        self._positions[partition] = after

    def items(self, partition: int) -> Iterator[tuple[bytes, bytes]]:
        """Return keys and values of `partition`."""
        prefix = _prefix(partition)
        for key, value in self._open_db.items(from_key=prefix):
            raw = bytes(key)
            if not raw.startswith(prefix):
                return
            yield raw[len(prefix) :], bytes(value)

    @property
    def _open_db(self) -> Rdict:
        if self._db is None:
            raise DatabaseError(f"the tables in {self._folder} are closed")
        return self._db

    def _open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._positions = {}
        self._db = Rdict(str(self._folder), options=_options())
        self._db.set_read_options(ReadOptions())

    def _read_position(self, partition: int) -> Position:
        value = self._open_db.get(_position_key(partition))
        if value is None:
            return Position(None, 0)
        try:
            stored = _decode_position(bytes(value))
        except UNDECODABLE:
            stored = None
        if stored is None or stored.format != _FORMAT:
            logger.warning("the copy of changelog partition %d is of another version, reading it again", partition)
            self.begin(partition, Position(None, 0))
            return Position(None, 0)
        return Position(stored.log, stored.offset)

    def _write_position(self, partition: int, position: Position) -> None:
        self._open_db.put(_position_key(partition), _encode_position(_StoredPosition(_FORMAT, *position)))
        self._positions[partition] = position


def _prefix(partition: int) -> bytes:
    return _VALUE + partition.to_bytes(4, "big") + b"/"


def _position_key(partition: int) -> bytes:
    return _POSITION + partition.to_bytes(4, "big")


def _options() -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    # Few files stay open: a worker must do with the 256 descriptors of a modest `ulimit -n`.
    options.set_max_open_files(32)
    options.set_write_buffer_size(8 << 20)
    options.set_max_write_buffer_number(2)
    options.set_target_file_size_base(16 << 20)
    options.set_max_total_wal_size(16 << 20)
    options.set_compression_type(DBCompressionType.none())  # snapshots are compressed
    table = BlockBasedOptions()
    table.set_block_cache(Cache(1 << 20))
    options.set_block_based_table_factory(table)
    return options
