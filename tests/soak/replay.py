"""The last report of each symbol, made again by an engine in memory from what the topic holds.

The one part of the soak that uses the product's code, and only the part that has no IO: whatever happened on the way, a
report is what the same events and the same times make of it.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from app.microstructure import rfc3339
from app.microstructure.engine import EngineParams, SymbolEngine
from app.microstructure.events import BadEventError, decode
from app.microstructure.report import Stamp, encode
from soak.judge import Violation
from soak.records import Record

# Who wrote it, when by the wall clock, and from which partition.
_APART: Final = ("writer", "updatedAt", "generated_at", "data_age_ms")


def differences(records: Iterable[Record], last: Mapping[str, bytes]) -> list[Violation]:
    """Return where a symbol's last report is not what its events make."""
    by_symbol: dict[str, list[Record]] = {symbol: [] for symbol in last}
    for record in records:
        by_symbol.setdefault((record.key or b"").decode(), []).append(record)
    broken = []
    for symbol, found in by_symbol.items():
        if symbol not in last:
            broken.append(Violation(0.0, "last report equals a replay", symbol, "has events and no report"))
            continue
        live = json.loads(last[symbol])
        end = max((each.offset for each in found), default=-1)
        if live["provenance"]["offset"] != end:
            detail = f"report ends with offset {live['provenance']['offset']}, topic with {end}"
            broken.append(Violation(0.0, "last report covers the topic", symbol, detail))
        different = list(_different(_replayed(symbol, found, live), live))
        if different:
            broken.append(Violation(0.0, "last report equals a replay", symbol, "; ".join(different)[:1000]))
    return broken


def _replayed(symbol: str, records: Iterable[Record], live: dict[str, Any]) -> dict[str, Any]:
    """Return the report that an engine makes at the live report's offsets and times."""
    provenance = live["provenance"]
    slow_offset, offset = provenance["slow"]["offset"], provenance["offset"]
    engine, slow = SymbolEngine(symbol, EngineParams()), None
    for record in sorted(records, key=_offset):
        if record.offset > offset:
            break
        if slow is None and record.offset > slow_offset:
            slow = engine.slow_sections(rfc3339.parse(provenance["slow"]["as_of"]))
        try:
            engine.apply(decode(record.value, record.key), record.offset)
        except BadEventError:
            continue  # a dead letter, which is judged by itself
    slow = slow or engine.slow_sections(rfc3339.parse(provenance["slow"]["as_of"]))
    stamp = Stamp(node_id="replay", writer_token=1, partition=provenance["partition"], wall_ns=engine.ts_event)
    made: dict[str, Any] = json.loads(encode(engine.report(rfc3339.parse(provenance["as_of"]), stamp, slow)))
    return made


def _different(made: Any, live: Any, path: str = "") -> Iterable[str]:
    """Yield what is not equal, by its path."""
    if isinstance(made, dict) and isinstance(live, dict):
        for name in made.keys() | live.keys():
            if path or name not in _APART:
                yield from _different(made.get(name), live.get(name), f"{path}.{name}" if path else name)
    elif made != live:
        yield f"{path}: live {json.dumps(live)[:200]}, replay {json.dumps(made)[:200]}"


def _offset(record: Record) -> int:
    return record.offset
