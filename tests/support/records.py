"""Kafka records for tests, made from events by the schema's own encoding."""

from typing import Any

import msgspec
from aiokafka import ConsumerRecord

from agents.intake import home_partition
from app.microstructure import rfc3339
from app.microstructure.events import Event, Nanos

TOPIC = "nt.binance"
PARTITIONS = 8


def _hook(value: Any) -> Any:
    if isinstance(value, Nanos):
        return rfc3339.format_nanos(value)
    raise NotImplementedError(type(value))


def event_bytes(event: Event) -> bytes:
    """Return an event as a producer would send it."""
    plain = msgspec.to_builtins(event, enc_hook=_hook)
    if plain["ts_init"] is None:
        del plain["ts_init"]
    return msgspec.json.encode(plain)


def record(
    event: Event | bytes,
    offset: int,
    *,
    key: bytes | None = b"BTCUSDT",
    partition: int | None = None,
    timestamp: int = 0,
) -> ConsumerRecord:
    """Return the record of an event in its home partition, or of raw bytes."""
    if isinstance(event, bytes):
        value = event
        home = 0
    else:
        value, key = event_bytes(event), event.symbol.encode()
        home = home_partition(event.symbol, PARTITIONS)
    return ConsumerRecord(
        topic=TOPIC,
        partition=home if partition is None else partition,
        offset=offset,
        timestamp=timestamp,
        timestamp_type=0,
        key=key,
        value=value,
        checksum=None,
        serialized_key_size=0,
        serialized_value_size=0,
        headers=(),
    )


class Steps:
    """What an intake asked for because records were not the next; `taken` has it as (step, partition, offset)."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, int, int]] = []

    def read_again(self, partition: int, offset: int) -> None:
        self.taken.append(("read_again", partition, offset))

    def skipped(self, partition: int, offset: int) -> None:
        self.taken.append(("skipped", partition, offset))

    def went_back(self, partition: int) -> None:
        self.taken.append(("went_back", partition, -1))
