"""A NautilusTrader `ParquetDataCatalog` as a recording: order book deltas, trades, and 24 h tickers if there.

A catalog stores each level of a message as a row. Rows become `OrderBookDeltas` again as they were: a CLEAR
begins one, the flag `F_LAST` ends one, and so does a change of id or time. The flag alone would not do, since
snapshots need not carry it.

Deltas must carry update ids (`sequence`), as those of NautilusTrader's Binance adapter and of our producer
do. Only instruments such as `BTCUSDT.BINANCE`, Binance Spot, are read; `left_out` names the others.

Files are read through NautilusTrader's wranglers, which are told the decimals. Its catalog takes them from a
file's first row, and where that is a CLEAR they are 0: prices would be read as whole numbers. For its Binance
ticker NautilusTrader has no Parquet form; `register_ticker` gives it one.
"""

import heapq
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from nautilus_trader.adapters.binance.common.types import BinanceTicker
from nautilus_trader.model.data import CustomData, DataType, OrderBookDelta, OrderBookDeltas, TradeTick
from nautilus_trader.model.enums import BookAction, RecordFlag
from nautilus_trader.persistence.catalog.parquet import ParquetDataCatalog
from nautilus_trader.persistence.wranglers_v2 import OrderBookDeltaDataWranglerV2, TradeTickDataWranglerV2
from nautilus_trader.serialization.arrow.serializer import (
    make_dict_deserializer,
    make_dict_serializer,
    register_arrow,
)

from app.microstructure.events import is_symbol
from producer.backtest.source import NANOS_PER_MS, BacktestError, Extent
from producer.exchange.units import DECIMALS
from producer.wire import VENUE

_BATCH_ROWS: Final = 20_000
_WRANGLERS: Final = {OrderBookDelta: OrderBookDeltaDataWranglerV2, TradeTick: TradeTickDataWranglerV2}
_KINDS: Final = (OrderBookDelta, TradeTick, BinanceTicker)

_TICKER_NUMBERS: Final = ("open_time_ms", "close_time_ms", "first_id", "last_id", "count", "ts_event", "ts_init")
_TICKER_TEXTS: Final = (
    "type", "instrument_id", "price_change", "price_change_percent", "weighted_avg_price", "prev_close_price",
    "last_price", "last_qty", "bid_price", "bid_qty", "ask_price", "ask_qty", "open_price", "high_price",
    "low_price", "volume", "quote_volume",
)  # fmt: skip
_TICKER_SCHEMA: Final = pa.schema(
    [(name, pa.string()) for name in _TICKER_TEXTS] + [(name, pa.int64()) for name in _TICKER_NUMBERS]
)

_Times = np.ndarray[Any, np.dtype[np.int64]]
"""A row for each message: receive time and event time (ns)."""


class CatalogSource:
    """A catalog in a folder.

    Attributes:
        left_out: instruments that are in the catalog and are not read.
    """

    def __init__(self, folder: Path) -> None:
        """Find the files and read their times.

        Raises:
            BacktestError: no catalog, a damaged file, or nothing in it that can be read.
        """
        if not (folder / "data").is_dir():
            raise BacktestError(f"--catalog {folder}: no NautilusTrader catalog, it has no folder data")
        self.left_out: set[str] = set()
        # Of one symbol and kind the files follow one another in time, and so do their names.
        self._files: dict[tuple[str, type], list[Path]] = {}
        catalog = ParquetDataCatalog(folder.resolve())
        for kind in _KINDS:
            for file in sorted(map(Path, catalog.get_file_list_from_data_cls(kind))):
                self._add(kind, file)
        self.symbols = sorted({symbol for symbol, _ in self._files})
        if not self.symbols:
            others = f", only {', '.join(sorted(self.left_out))}" if self.left_out else ""
            raise BacktestError(f"--catalog {folder}: no deltas, trades or tickers of SYMBOL.{VENUE}{others}")
        self.extent = _extent(np.concatenate([_times(file) for files in self._files.values() for file in files]))

    def data(self) -> Iterator[Any]:
        """Yield deltas, trades and tickers in order of receipt; see `Source`."""
        streams = [_stream(kind, symbol, files) for (symbol, kind), files in self._files.items()]
        return heapq.merge(*streams, key=lambda data: data.ts_init)

    def _add(self, kind: type, file: Path) -> None:
        instrument = file.parent.name
        symbol, _, venue = instrument.partition(".")
        if venue == VENUE and is_symbol(symbol):
            self._files.setdefault((symbol, kind), []).append(file)
        else:
            self.left_out.add(instrument)


def register_ticker() -> None:
    """Tell NautilusTrader how a catalog stores the 24 h ticker of its Binance adapter."""
    register_arrow(
        BinanceTicker,
        _TICKER_SCHEMA,
        encoder=make_dict_serializer(_TICKER_SCHEMA),
        decoder=make_dict_deserializer(BinanceTicker),
    )


def whole_deltas(rows: Iterator[Any]) -> Iterator[Any]:
    """Yield the rows of one instrument, put together as the messages that they were.

    Raises:
        BacktestError: rows without update ids.
    """
    message: list[Any] = []
    for row in rows:
        if message and _begins(row, message[-1]):
            yield _deltas(message)
            message = []
        message.append(row)
    if message:
        yield _deltas(message)


def _begins(row: Any, before: Any) -> bool:
    return bool(
        row.action == BookAction.CLEAR
        or before.flags & RecordFlag.F_LAST
        or row.sequence != before.sequence
        or row.ts_event != before.ts_event
    )


def _deltas(message: list[Any]) -> Any:
    last = message[-1]
    if not last.sequence and last.action != BookAction.CLEAR:
        raise BacktestError(f"order book deltas of {last.instrument_id} carry no update ids (sequence is 0)")
    return OrderBookDeltas(last.instrument_id, message)


def _stream(kind: Any, symbol: str, files: list[Path]) -> Iterator[Any]:
    if kind is BinanceTicker:
        return _tickers(files)
    wrangler = _WRANGLERS[kind](f"{symbol}.{VENUE}", DECIMALS, DECIMALS)
    rows = (row for batch in _batches(files) for row in kind.from_pyo3_list(wrangler.from_arrow(batch)))
    return whole_deltas(rows) if kind is OrderBookDelta else rows


def _tickers(files: list[Path]) -> Iterator[Any]:
    for batch in _batches(files):
        for values in batch.to_pylist():
            ticker = BinanceTicker.from_dict(values)
            yield CustomData(DataType(BinanceTicker, metadata={"instrument_id": ticker.instrument_id}), ticker)


def _batches(files: list[Path], columns: list[str] | None = None) -> Iterator[Any]:
    for file in files:
        try:
            with pq.ParquetFile(file) as parquet:
                for rows in parquet.iter_batches(_BATCH_ROWS, columns=columns):
                    yield pa.Table.from_batches([rows])
        except (pa.ArrowException, OSError) as error:
            raise BacktestError(f"{file}: {str(error).splitlines()[0]}") from None


def _times(file: Path) -> _Times:
    found: list[_Times] = [np.empty((0, 2), np.int64)]
    for rows in _batches([file], ["ts_init", "ts_event"]):
        times = np.stack([rows[name].to_numpy().astype(np.int64) for name in ("ts_init", "ts_event")], axis=1)
        changed = np.ones(len(times), bool)
        changed[1:] = (times[1:] != times[:-1]).any(axis=1)
        found.append(times[changed])
    return np.concatenate(found)


def _extent(times: _Times) -> Extent:
    received, happened = times[:, 0], times[:, 1]
    # What was received at one instant may come in any order: assume the worst.
    happened = happened[np.lexsort((-happened, received))]
    lateness = int((np.maximum.accumulate(happened) - happened).max())
    # Events carry whole milliseconds, which moves each by up to half of one.
    first, last = int(happened.min()) - NANOS_PER_MS, int(happened.max()) + NANOS_PER_MS
    return Extent(first, last, lateness + NANOS_PER_MS, len(times))
