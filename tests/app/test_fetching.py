"""Batches as brokers give them, read by aiokafka with our changes; a real broker is asked in tests/system."""

from collections.abc import Iterator
from typing import Any

import pytest
from aiokafka.consumer.fetcher import READ_UNCOMMITTED
from aiokafka.record._crecords import DefaultRecordBatchBuilder, MemoryRecords
from aiokafka.structs import TopicPartition

from app import aiokafka_cures, decompression, fetching
from app.batches import Unreadable, begin_of

TP = TopicPartition("events", 3)
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
_CRC_AT, _ATTRIBUTES_AT = 17, 21


@pytest.fixture(autouse=True)
def _installed() -> None:
    aiokafka_cures.install()


def batch(first: int, values: list[bytes], codec: str = "none", headers: Any = ()) -> bytearray:
    """Return a batch whose first offset is `first`."""
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=CODECS[codec], is_transactional=0, producer_id=-1, producer_epoch=-1,
        base_sequence=-1, batch_size=1 << 30,
    )  # fmt: skip
    for number, value in enumerate(values):
        builder.append(number, timestamp=1000 + number, key=b"k", value=value, headers=list(headers))
    made = bytearray(builder.build())
    made[:8] = first.to_bytes(8)
    return made


def damaged(good: bytearray) -> bytearray:
    good[-2] ^= 0xFF
    return good


def with_checksum(changed: bytearray) -> bytearray:
    from aiokafka.record.util import calc_crc32c

    changed[_CRC_AT:_ATTRIBUTES_AT] = calc_crc32c(bytes(changed[_ATTRIBUTES_AT:])).to_bytes(4)
    return changed


def fetched(*batches: bytearray, offset: int = 0) -> fetching.PartitionRecords:
    records = MemoryRecords(b"".join(map(bytes, batches)))
    return fetching.PartitionRecords(TP, records, [], offset, None, None, True, READ_UNCOMMITTED)


def seen(records: Iterator[Any]) -> list[Any]:
    """Return offsets, and of what cannot be read first and last offset and reason."""
    return [
        (begin_of(each), each.offset, each.reason) if isinstance(each, Unreadable) else each.offset for each in records
    ]


@pytest.mark.parametrize("codec", CODECS)
def test_each_of_kafkas_codecs_is_read(codec: str) -> None:
    records = fetched(batch(0, [b"a", b"b"], codec), batch(2, [b"c"]))
    assert [each.value for each in records] == [b"a", b"b", b"c"]
    assert records.next_fetch_offset == 3


def test_a_damaged_batch_stands_for_all_up_to_the_next_one() -> None:
    records = fetched(batch(0, [b"a"]), damaged(batch(1, [b"b"] * 4)), batch(5, [b"c"]))
    assert seen(records) == [0, (1, 4, "damaged_batch"), 5]
    assert records.next_fetch_offset == 6


def test_a_damaged_batch_is_not_believed_about_its_own_length() -> None:
    lying = batch(1, [b"b"])
    lying[23:27] = (1000).to_bytes(4)  # last offset delta
    assert seen(fetched(lying, batch(2, [b"c"]), offset=1)) == [(1, 1, "damaged_batch"), 2]


def test_behind_the_last_damaged_batch_reading_goes_on_offset_by_offset() -> None:
    records = fetched(damaged(batch(7, [b"b"] * 4)), offset=7)
    assert seen(records) == [(7, 7, "damaged_batch")]
    assert records.next_fetch_offset == 8
    assert seen(fetched(damaged(batch(7, [b"b"] * 4)), batch(11, [b"c"]), offset=8)) == [(8, 10, "damaged_batch"), 11]


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_a_bomb_goes_by_its_offsets(codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decompression, "MAX_BATCH_BYTES", 1 << 20)
    bomb = batch(1, [b"x", bytes(2 << 20), b"y"], codec)
    (first, bad, last) = fetched(batch(0, [b"a"]), bomb, batch(4, [b"c"]))
    assert (first.offset, last.offset) == (0, 4)
    assert (begin_of(bad), bad.offset, bad.reason, bad.timestamp) == (1, 3, "oversized_batch", 1002)
    assert (bad.key, bad.value) == (None, None)


def test_what_a_codec_cannot_read_goes_by_its_offsets() -> None:
    bad = batch(1, [b"x" * 100] * 3, "gzip")
    bad[61:] = b"no gzip at all"
    bad[8:12] = (len(bad) - 12).to_bytes(4)
    assert seen(fetched(batch(0, [b"a"]), with_checksum(bad), batch(4, [b"c"]))) == [0, (1, 3, "damaged_batch"), 4]


def test_a_header_whose_name_is_no_utf_8_costs_its_record_and_those_behind_it_in_the_batch() -> None:
    bad = batch(0, [b"a", b"b"], headers=[("name", b"")])
    at = bad.rindex(b"name")
    bad[at : at + 4] = b"\xff\xfe\xff\xfe"
    records = fetched(with_checksum(bad), batch(2, [b"c"]))
    assert seen(records) == [0, (1, 1, "damaged_batch"), 2]


def test_where_the_log_itself_is_garbled_reading_goes_on_offset_by_offset() -> None:
    garbled = batch(1, [b"b"])
    garbled[8:12] = (3).to_bytes(4)  # no batch is so short
    records = fetched(batch(0, [b"a"]), garbled)
    assert seen(records) == [0, (1, 1, "damaged_batch")]
    assert records.next_fetch_offset == 2


def test_records_before_the_offset_that_was_asked_for_are_left_out_as_ever() -> None:
    assert seen(fetched(batch(0, [b"a"] * 5, "gzip"), offset=3)) == [3, 4]


class Assignment:
    """Of one partition, which may be fetched."""

    active = True
    paused = False

    def __init__(self, position: int) -> None:
        self.position = position

    def state_value(self, _: TopicPartition) -> "Assignment":
        return self

    def consumed_to(self, position: int) -> None:
        self.position = position


def test_one_call_returns_some_megabytes_and_the_next_the_rest() -> None:
    megabyte = bytes(1 << 20)
    batches = [batch(number, [megabyte], "gzip") for number in range(20)]
    assignment = Assignment(0)
    result = fetching.FetchResult(TP, assignment=assignment, partition_records=fetched(*batches), backoff=0)
    sizes = []
    while result.has_more():
        sizes.append(len(result.getall()))
        assert assignment.position == sum(sizes)
    assert sizes == [9, 9, 2]


def test_a_call_for_some_records_gets_as_many() -> None:
    assignment = Assignment(0)
    result = fetching.FetchResult(TP, assignment=assignment, partition_records=fetched(batch(0, [b"a"] * 5)), backoff=0)
    assert [len(result.getall(2)) for _ in range(3)] == [2, 2, 1]
