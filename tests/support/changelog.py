"""The snapshot table as its changelog has it."""

from collections.abc import Iterable

from aiokafka import ConsumerRecord

from app.microstructure.engine import STATE_VERSION
from tables.records import read


def newest_states(records: Iterable[ConsumerRecord]) -> dict[str, bytes]:
    """Each symbol's state in a changelog, as a worker would restore it."""
    tables: dict[int, dict[bytes, bytes | None]] = {}
    for record in records:
        tables.setdefault(record.partition, {})[record.key] = record.value
    found: dict[str, bytes] = {}
    for table in tables.values():
        held = ((key, value) for key, value in table.items() if value is not None)
        for name, each in read(held, STATE_VERSION, None).items():
            if each.candidates:
                found[name] = each.candidates[0].state
    return found
