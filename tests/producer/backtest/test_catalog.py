from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nautilus_trader.model.data import BookOrder, OrderBookDelta, TradeTick
from nautilus_trader.model.enums import AggressorSide, BookAction, OrderSide, RecordFlag
from nautilus_trader.model.identifiers import InstrumentId, TradeId
from nautilus_trader.model.objects import Price, Quantity
from nautilus_trader.persistence.catalog.parquet import ParquetDataCatalog

from app.microstructure.engine import EngineParams
from producer.backtest.catalog import CatalogSource, register_ticker, whole_deltas
from producer.backtest.run import backtest
from producer.backtest.source import BacktestError
from producer.backtest.tape import TapeSource

SECOND = 1_000_000_000
Run = Callable[..., list[bytes]]


def store(folder: Path, data: list[Any], pieces: int = 1) -> Path:
    """Write `data` to a catalog in `folder`, in several files for each kind."""
    register_ticker()
    catalog = ParquetDataCatalog(folder)
    data = sorted(data, key=lambda each: each.ts_init)
    size = -(-len(data) // pieces)
    for start in range(0, len(data), size):
        catalog.write_data(data[start : start + size])
    return folder


def reports(folder: Path, out: Path, every_ns: int = SECOND) -> list[bytes]:
    backtest(CatalogSource(folder), every_ns, EngineParams(), out, lambda _: None)
    return out.read_bytes().splitlines()


def a_trade(instrument: str, at: int = SECOND) -> TradeTick:
    return TradeTick(
        InstrumentId.from_str(instrument),
        Price.from_str("100.00"),
        Quantity.from_str("1.000"),
        AggressorSide.BUYER,
        TradeId("1"),
        at,
        at,
    )


@pytest.mark.parametrize("pieces", [1, 3])
def test_a_catalog_gives_the_reports_of_the_tape_that_it_was_made_from(
    small_tape: Path, tmp_path: Path, written: Run, pieces: int
) -> None:
    folder = store(tmp_path / "catalog", list(TapeSource([small_tape]).data()), pieces)
    assert reports(folder, tmp_path / "catalog.jsonl", SECOND // 10) == written(small_tape, every_ns=SECOND // 10)


@pytest.mark.tape
def test_a_catalog_of_the_recorded_market_gives_the_same_reports(tape_path: Path, tmp_path: Path, written: Run) -> None:
    folder = store(tmp_path / "catalog", list(TapeSource([tape_path]).data()))
    assert reports(folder, tmp_path / "catalog.jsonl") == written(tape_path)


def test_several_symbols_and_their_tickers_come_out_of_one_catalog(tape: Any, tmp_path: Path, written: Run) -> None:
    for at in range(0, 2_500, 100):
        tape.trade(at, at + 1).ticker(at + 20, symbol="ETHUSDT")
    path = tape.save()
    folder = store(tmp_path / "catalog", list(TapeSource([path]).data()))
    source = CatalogSource(folder)
    assert (source.symbols, source.left_out) == (["BTCUSDT", "ETHUSDT"], set())
    assert reports(folder, tmp_path / "catalog.jsonl") == written(path)


def test_prices_are_whole_although_the_first_row_is_a_clear(small_tape: Path, tmp_path: Path) -> None:
    folder = store(tmp_path / "catalog", list(TapeSource([small_tape]).data()))
    levels = [str(row.order.price) for data in CatalogSource(folder).data() for row in getattr(data, "deltas", [])]
    assert "101.00000000" in levels


def test_the_rows_of_a_message_are_put_together_as_they_were(small_tape: Path, tmp_path: Path) -> None:
    data = list(TapeSource([small_tape]).data())
    folder = store(tmp_path / "catalog", data)
    stored = [(each.ts_init, len(getattr(each, "deltas", []))) for each in CatalogSource(folder).data()]
    assert sorted(stored) == sorted((each.ts_init, len(getattr(each, "deltas", []))) for each in data)


def row(action: BookAction = BookAction.UPDATE, *, last: bool = False, update_id: int = 5, at: int = SECOND) -> Any:
    instrument = InstrumentId.from_str("BTCUSDT.BINANCE")
    if action == BookAction.CLEAR:
        return OrderBookDelta.clear(instrument, update_id, at, at)
    order = BookOrder(OrderSide.BUY, Price.from_str("100.00"), Quantity.from_str("1.00"), 0)
    return OrderBookDelta(instrument, action, order, RecordFlag.F_LAST if last else 0, update_id, at, at)


@pytest.mark.parametrize(
    ("rows", "sizes"),
    [
        ([row(), row(), row(last=True), row(), row(last=True)], [3, 2]),
        ([row(), row(update_id=6), row(update_id=6)], [1, 2]),
        ([row(), row(at=SECOND + 1)], [1, 1]),
        ([row(BookAction.CLEAR), row(BookAction.CLEAR), row(BookAction.ADD), row(BookAction.ADD)], [1, 3]),
        ([row(BookAction.CLEAR), row(BookAction.ADD), row(update_id=6, last=True)], [2, 1]),
        ([], []),
    ],
)
def test_a_message_ends_with_its_flag_its_id_its_time_or_the_next_clear(rows: list[Any], sizes: list[int]) -> None:
    assert [len(message.deltas) for message in whole_deltas(iter(rows))] == sizes


def test_what_is_not_binance_spot_is_left_out_and_named(tmp_path: Path) -> None:
    instruments = ("BTCUSDT.BINANCE", "BTCUSDT-PERP.BINANCE", "BTCUSDT.BYBIT")
    source = CatalogSource(store(tmp_path / "catalog", [a_trade(instrument) for instrument in instruments]))
    assert source.symbols == ["BTCUSDT"]
    assert source.left_out == {"BTCUSDT-PERP.BINANCE", "BTCUSDT.BYBIT"}


def test_a_catalog_with_nothing_to_read_is_refused(tmp_path: Path) -> None:
    folder = store(tmp_path / "catalog", [a_trade("BTCUSDT.BYBIT")])
    with pytest.raises(BacktestError, match=r"no deltas, trades or tickers of SYMBOL\.BINANCE, only BTCUSDT\.BYBIT"):
        CatalogSource(folder)


def test_a_folder_that_is_no_catalog_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BacktestError, match=r"no NautilusTrader catalog, it has no folder data"):
        CatalogSource(tmp_path)


@pytest.mark.parametrize("spoil", [lambda body: body[:-50], lambda body: b"no parquet at all"])
def test_a_damaged_file_is_named(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    folder = store(tmp_path / "catalog", [a_trade("BTCUSDT.BINANCE")])
    (file,) = folder.rglob("*.parquet")
    file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(BacktestError, match=file.name):
        CatalogSource(folder)


def test_deltas_without_update_ids_are_refused(tmp_path: Path) -> None:
    source = CatalogSource(store(tmp_path / "catalog", [row(update_id=0)]))
    with pytest.raises(BacktestError, match=r"order book deltas of BTCUSDT\.BINANCE carry no update ids"):
        list(source.data())


def test_the_extent_covers_the_recording(small_tape: Path, tmp_path: Path) -> None:
    tape = TapeSource([small_tape])
    extent = CatalogSource(store(tmp_path / "catalog", list(tape.data()))).extent
    assert extent.first_ns <= tape.extent.first_ns
    assert extent.last_ns >= tape.extent.last_ns - 1_000_000
    assert extent.lateness_ns >= tape.extent.lateness_ns - 1_000_000
