"""What a line of the log says about a record: where it is and, as far as it can be believed, what it is."""

import time
from typing import Any

import msgspec

from app.batches import Record
from app.microstructure.events import EVENT_TYPES, is_symbol
from app.undecodable import UNDECODABLE


class _Claims(msgspec.Struct):
    type: Any = None


_decode_claims = msgspec.json.Decoder(_Claims).decode


def stream_id(record: Record) -> str:
    """Return topic-partition-offset, as logs name a record."""
    return f"{record.topic}-{record.partition}-{record.offset}"


def record_fields(record: Record) -> dict[str, object]:
    """Return the `extra` of a line about a record; symbol and type only where they are such as the contract has.

    `lag_ms` is the time since the producer sent it.
    """
    key = (record.key or b"").decode("latin-1")
    return {
        "stream_id": stream_id(record),
        "symbol": key if is_symbol(key) else None,
        "lag_ms": max(0, time.time_ns() // 1_000_000 - record.timestamp) if record.timestamp > 0 else None,
        "event_type": _event_type(record.value),
    }


def _event_type(value: bytes | None) -> str | None:
    try:
        claimed = _decode_claims(value or b"").type
    except UNDECODABLE:
        return None
    return claimed if claimed in EVENT_TYPES else None
