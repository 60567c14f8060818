"""The snapshot table as its changelog has it."""

from collections.abc import Iterable

from aiokafka import ConsumerRecord

from app.microstructure.compact import join
from app.microstructure.engine import EngineParams, SymbolEngine
from tables.parts import newest


def newest_states(records: Iterable[ConsumerRecord]) -> dict[str, bytes]:
    """Each symbol's state in a changelog, as a worker would restore it."""
    table = {record.key: record.value for record in records}
    found = newest((key, value) for key, value in table.items() if value is not None)
    return {
        symbol: SymbolEngine.from_state(join(each.head, each.parts), EngineParams()).snapshot()
        for symbol, each in found.items()
        if each.offset >= 0
    }
