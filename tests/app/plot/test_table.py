import json
from typing import Any

import pyarrow as pa
import pytest

from app.microstructure import rfc3339
from app.microstructure.report import Report, encode
from app.plot.table import COLUMNS, SCHEMA, batch


def at(body: dict[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = body
    for name in path:
        value = None if value is None else value[name]
    return value


def test_every_field_of_the_json_is_in_a_column_with_its_value(reports: list[Report]) -> None:
    rows = batch(reports).to_pylist()
    for report, row in zip(reports, rows, strict=True):
        body = json.loads(encode(report))
        for column in COLUMNS:
            value, cell = at(body, column.path), row[column.name]
            if column.type == pa.timestamp("ns", tz="UTC"):
                assert rfc3339.parse(value) == cell.value
            elif isinstance(value, dict):
                assert json.loads(cell) == value
            else:
                assert cell == value
        assert set(body) == {column.path[0] for column in COLUMNS}


def test_what_is_not_known_is_null_and_a_list_of_nothing_is_not(
    reports: list[Report], unknown_reports: list[Report]
) -> None:
    known, not_known = batch([reports[21]]).to_pylist()[0], batch([unknown_reports[12]]).to_pylist()[0]
    assert (known["liquidity_walls"], known["anomalies"]) == ([], [])
    for name in ("liquidity_walls", "anomalies", "liquidity_volume_profile_POC", "best_bid_price", "mid_price"):
        assert not_known[name] is None


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("symbol", pa.string()),
        ("best_bid_price", pa.float64()),
        ("flow_net_flow", pa.float64()),
        ("updatedAt", pa.int64()),
        ("provenance_book_ok", pa.bool_()),
        ("provenance_as_of", pa.timestamp("ns", tz="UTC")),
        ("generated_at", pa.timestamp("ns", tz="UTC")),
        ("depth_top_bids", pa.list_(pa.struct([("price", pa.float64()), ("qty", pa.float64())]))),
        (
            "liquidity_vacuums",
            pa.list_(pa.struct([("from", pa.float64()), ("to", pa.float64()), ("severity", pa.string())])),
        ),
        ("anomalies", pa.list_(pa.struct([(name, pa.string()) for name in ("type", "severity", "note")]))),
    ],
)
def test_a_column_has_the_type_of_its_field(name: str, kind: pa.DataType) -> None:
    assert SCHEMA.field(name).type == kind


def test_no_two_fields_share_a_column() -> None:
    assert len({column.name for column in COLUMNS}) == len(COLUMNS)
