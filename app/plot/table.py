"""Reports as an Arrow table: the columns of `reports.parquet`.

A column is a field of the report's JSON. Its name is the path there, joined by `_`:
`best_bid.price` is `best_bid_price`, `flow.net_flow` is `flow_net_flow`. The columns follow from the type
`Report` alone, so a new field of the report is a new column.

| in the report                  | column                                                            |
|--------------------------------|-------------------------------------------------------------------|
| number, text, true or false    | float64, int64, string, bool                                      |
| time (RFC 3339 text)           | timestamp[ns, UTC]                                                |
| part with fields               | one column for each field; all null where the part is null        |
| list of parts                  | list of structs: `depth_top_bids`, `liquidity_walls`, `anomalies` |
| names and values               | JSON text                                                         |

`provenance_as_of` is the as-of time, the time axis of a backtest. Null is "not known", as in the report; a
list that is empty is not null.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import pyarrow as pa
from msgspec import inspect as types

from app.microstructure import rfc3339
from app.microstructure.report import Report

AS_OF: Final = "provenance_as_of"

_TIMES: Final = frozenset({"generated_at", "as_of", "ts_event"})
_TIME: Final = pa.timestamp("ns", tz="UTC")
_SCALARS: Final[dict[type, Any]] = {
    types.FloatType: pa.float64(),
    types.IntType: pa.int64(),
    types.StrType: pa.string(),
    types.LiteralType: pa.string(),
    types.BoolType: pa.bool_(),
    types.DictType: pa.string(),
}


class Column(msgspec.Struct, frozen=True):
    """One column: its name, the path of its field in the JSON, and its Arrow type."""

    name: str
    path: tuple[str, ...]
    type: Any

    def cell(self, report: Mapping[str, Any]) -> Any:
        """Return the value that a report, as plain values, has in this column."""
        value: Any = report
        for name in self.path:
            if value is None:
                return None
            value = value[name]
        if value is None:
            return None
        if self.type == _TIME:
            return rfc3339.parse(value)
        return _json(value) if isinstance(value, dict) else value


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _columns(part: types.StructType, path: tuple[str, ...] = ()) -> list[Column]:
    found: list[Column] = []
    for field in part.fields:
        inner = (*path, field.encode_name)
        kind = _known(field.type)
        if isinstance(kind, types.StructType):
            found += _columns(kind, inner)
        else:
            found.append(Column("_".join(inner), inner, _arrow(kind, field.encode_name)))
    return found


def _known(kind: types.Type) -> types.Type:
    """Return the type of a value that is known: without `None`."""
    if isinstance(kind, types.UnionType):
        (kind,) = (each for each in kind.types if not isinstance(each, types.NoneType))
    return kind


def _arrow(kind: types.Type, name: str) -> Any:
    if isinstance(kind, types.VarTupleType) and isinstance(kind.item_type, types.StructType):
        item = kind.item_type
        return pa.list_(pa.struct([(each.encode_name, _arrow(_known(each.type), "")) for each in item.fields]))
    return _TIME if name in _TIMES else _SCALARS[type(kind)]


def _report_type() -> types.StructType:
    kind = types.type_info(Report)
    if not isinstance(kind, types.StructType):
        raise TypeError("a report is a struct")
    return kind


COLUMNS: Final = tuple(_columns(_report_type()))
SCHEMA: Final = pa.schema([(column.name, column.type) for column in COLUMNS])

_plain: Final[Callable[[Report], dict[str, Any]]] = msgspec.to_builtins


def batch(reports: Sequence[Report]) -> Any:
    """Return reports as a `pyarrow.RecordBatch` of `SCHEMA`."""
    plain = [_plain(report) for report in reports]
    cells = [pa.array([column.cell(report) for report in plain], column.type) for column in COLUMNS]
    return pa.record_batch(cells, schema=SCHEMA)
