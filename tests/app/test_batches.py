import dataclasses

import msgspec
from aiokafka.consumer import fetcher
from aiokafka.structs import ConsumerRecord
from faust.types import TP

from app import aiokafka_cures
from app.batches import Record, RecordBatch, fold
from support.records import record

EVENTS, OTHER = TP("events", 0), TP("other", 0)


def records(keys: list[bytes]) -> list[object]:
    return [record(b"x", offset, key=key) for offset, key in enumerate(keys)]


def folded(fetched: dict[TP, list[object]]) -> dict[TP, list[object]]:
    return dict(fold(fetched, frozenset({"events"})))


def test_a_record_has_the_fields_of_aiokafkas_own_in_their_order() -> None:
    theirs = [field.name for field in dataclasses.fields(ConsumerRecord)]
    assert [field.name for field in msgspec.structs.fields(Record)] == theirs


def test_aiokafka_makes_our_records_once_it_is_told_to() -> None:
    aiokafka_cures.install()
    assert fetcher.ConsumerRecord is Record


def test_a_batched_topic_gives_one_item_that_carries_all_and_the_last_offset() -> None:
    fetched = records([b"A", b"B", b"A"])
    (batch,) = folded({EVENTS: fetched})[EVENTS]
    assert isinstance(batch, RecordBatch)
    assert (batch.offset, batch.value) == (2, fetched)


def test_other_topics_are_left_alone_and_empty_fetches_left_out() -> None:
    fetched = records([b"A", b"A"])
    assert folded({OTHER: fetched, EVENTS: []}) == {OTHER: fetched}
