"""What aiokafka makes of a fetch, so that nothing in a topic can stop who reads it.

aiokafka raises where a batch is damaged, where its codec cannot read it, or where a name in it is not UTF-8: at the
same offset again at each attempt, in any worker that owns the partition. Here such a batch becomes one record that
says so (`batches.Unreadable`), and reading goes on behind it. What is decompressed is bounded (`app.decompression`),
and so is what one call returns of a partition.
"""

from collections.abc import Iterator
from typing import Any, Final

from aiokafka.consumer import fetcher

from app.batches import Record, Unreadable
from app.decompression import TooLargeError

MAX_AT_ONCE: Final = 8 << 20
"""Bytes of values after which a call returns what it has of a partition."""


class PartitionRecords(fetcher.PartitionRecords):
    """The records of a fetched partition; a batch that cannot be read is one of them."""

    _records: Any
    _check_crcs: bool
    next_fetch_offset: int

    def _unpack_records(self) -> Iterator[Record]:
        batches, check = _each(self._records), self._check_crcs
        self._check_crcs = False  # it is done here
        batch = next(batches, None)
        while batch is not None:
            following = next(batches, None)
            if isinstance(batch, Exception):
                yield self._unreadable(self.next_fetch_offset + 1, "damaged_batch", str(batch))
            elif check and not batch.validate_crc():
                # What a damaged batch says of its own length is not to be believed; where the next begins is.
                end = following.base_offset if following and not isinstance(following, Exception) else 0
                yield self._unreadable(end, "damaged_batch", "its checksum is another")
            else:
                yield from self._of(batch)
            batch = following

    def _of(self, batch: Any) -> Iterator[Record]:
        self._records = _One(batch)
        try:
            yield from super()._unpack_records()
        except TooLargeError as error:
            yield self._unreadable(batch.next_offset, "oversized_batch", str(error), batch.max_timestamp)
        except MemoryError:
            raise  # says nothing about the batch
        except Exception as error:  # whatever a codec or a parser raises
            yield self._unreadable(batch.next_offset, "damaged_batch", repr(error), batch.max_timestamp)

    def _unreadable(self, end: int | None, reason: str, detail: str, timestamp: int | None = None) -> Unreadable:
        """Return what stands for the records up to `end`, at least one, and go on there."""
        first = self.next_fetch_offset
        self.next_fetch_offset = max(end or 0, first + 1)
        where = (self._tp.topic, self._tp.partition, self.next_fetch_offset - 1, timestamp or -1)
        return Unreadable(*where, 0, None, None, None, -1, -1, (), first, reason, detail)


class FetchResult(fetcher.FetchResult):
    """A fetched partition, of which one call returns no more than some MB."""

    _partition_records: PartitionRecords | None

    def getall(self, max_records: int | None = None) -> list[Record]:
        """Return records; those that are left are returned by the next call."""
        if max_records is not None:
            few: list[Record] = super().getall(max_records)
            return few
        if not self.check_assignment(self._topic_partition) or self._partition_records is None:
            return []
        found: list[Record] = []
        size = 0
        for record in self._partition_records:
            found.append(record)
            size += record.serialized_value_size
            if size > MAX_AT_ONCE:
                self._update_position()
                return found
        self._update_position()
        self._partition_records = None
        return found


class _One:
    """A batch in the place of all that were fetched."""

    def __init__(self, batch: Any) -> None:
        self._batch = batch

    def has_next(self) -> bool:
        return self._batch is not None

    def next_batch(self) -> Any:
        batch, self._batch = self._batch, None
        return batch


def _each(records: Any) -> Iterator[Any]:
    """Yield batches; an error in their place, and nothing more, where it is not known where the next one begins."""
    try:
        while records.has_next():
            yield records.next_batch()
    except Exception as error:
        yield error
