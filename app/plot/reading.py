"""Reports from a file, Parquet or JSON Lines, as an Arrow table with the columns that pictures need."""

from collections.abc import Iterator
from itertools import batched
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from app.microstructure.report import Report
from app.plot.table import AS_OF, SCHEMA, batch

NUMBERS: Final = (
    "best_bid_price",
    "best_ask_price",
    "mid_price",
    "micro_price",
    "spread_bps",
    "depth_imbalance",
    "flow_orders_per_sec",
    "flow_net_flow",
    "liquidity_volume_profile_POC",
    "liquidity_volume_profile_VAH",
    "liquidity_volume_profile_VAL",
    "health_score",
)
LISTS: Final = ("liquidity_walls", "liquidity_vacuums", "anomalies")
BOOK_OK: Final = "provenance_book_ok"

_COLUMNS: Final = ["symbol", AS_OF, *NUMBERS, *LISTS, BOOK_OK]
_BATCH: Final = 2000

_decode: Final = msgspec.json.Decoder(Report).decode


class PlotError(ValueError):
    """One line that names what is wrong and what is allowed."""


def read(path: Path) -> Any:
    """Return the reports of `path` as a `pyarrow.Table`, ordered by as-of time.

    Raises:
        PlotError: unknown extension, the file cannot be read, is damaged or holds no reports.
    """
    readers = {".parquet": _parquet, ".jsonl": _json_lines}
    if path.suffix not in readers:
        raise PlotError(f"{path}: the extension must be {' or '.join(readers)}")
    try:
        table = readers[path.suffix](path)
    except OSError as error:
        raise PlotError(f"{path}: {error.strerror or error}") from None
    if not table.num_rows:
        raise PlotError(f"{path}: there are no reports in it")
    return table.sort_by(AS_OF)


def _parquet(path: Path) -> Any:
    try:
        with path.open("rb") as source, pq.ParquetFile(source) as file:
            missing = [name for name in _COLUMNS if name not in file.schema_arrow.names]
            if missing:
                raise PlotError(f"{path}: no file of reports, it has no column {missing[0]}")
            return file.read(_COLUMNS)
    except pa.ArrowException as error:
        raise PlotError(f"{path}: {str(error).splitlines()[0]}") from None


def _json_lines(path: Path) -> Any:
    batches = [batch(reports).select(_COLUMNS) for reports in batched(_reports(path), _BATCH)]
    return pa.Table.from_batches(batches, pa.schema([SCHEMA.field(name) for name in _COLUMNS]))


def _reports(path: Path) -> Iterator[Report]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                yield _decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise PlotError(f"{path}:{number}: no report: {error}") from None
