import numpy as np
import pyarrow as pa
import pytest

from app.microstructure.report import Report
from app.plot import series as series_module
from app.plot.reading import PlotError
from app.plot.series import Series, series, symbols
from app.plot.table import batch
from support.markets import SECOND, START


def of(reports: list[Report], symbol: str = "BTCUSDT") -> Series:
    return series(pa.Table.from_batches([batch(reports)]), symbol)


def second(time: np.datetime64) -> int:
    """Return seconds since the first report."""
    return (int(time.astype("datetime64[ns]").astype(np.int64)) - START) // SECOND


def test_numbers_are_those_of_the_reports_and_nan_where_not_known(reports: list[Report]) -> None:
    shown = of(reports)
    assert [second(time) for time in shown.times] == list(range(40))
    mids = shown.numbers["mid_price"]
    assert [None if np.isnan(mid) else mid for mid in mids] == [report.mid_price for report in reports]
    assert np.isnan(mids[10:15]).all()
    assert not np.isnan(mids[:10]).any()


def test_what_is_in_reports_one_after_the_other_is_one_stretch_with_its_worst_severity(reports: list[Report]) -> None:
    shown = of(reports)
    assert shown.walls is not None
    (wall,) = shown.walls
    assert (second(wall.start), second(wall.end)) == (0, 20)
    assert (wall.kind, wall.low, wall.high, wall.qty, wall.severity) == ("bid", 97.0, 97.0, 9.0, "high")


def test_an_anomaly_ends_with_the_first_report_without_it(reports: list[Report]) -> None:
    found = of(reports).anomalies
    assert found is not None
    assert [(each.kind, second(each.start), second(each.end), each.severity, each.note) for each in found] == [
        ("spoofing", 3, 6, "high", "note 4"),
        ("flash_crash_risk", 20, 21, "medium", "2 of 3"),
        ("flash_crash_risk", 30, 31, "medium", "2 of 3"),
    ]


def test_a_vacuum_reaches_from_its_lower_to_its_higher_price(reports: list[Report]) -> None:
    found = of(reports).vacuums
    assert found is not None
    assert (found[0].low, found[0].high) == (102.0, 103.0)


def test_the_time_without_a_book_is_a_stretch(reports: list[Report]) -> None:
    assert [(second(each.start), second(each.end)) for each in of(reports).broken_books] == [(10, 15)]


def test_what_was_never_known_is_none(unknown_reports: list[Report]) -> None:
    shown = of(unknown_reports)
    assert (shown.walls, shown.vacuums, shown.anomalies) == (None, None, None)


def test_one_report_is_enough(reports: list[Report]) -> None:
    shown = of(reports[:1])
    assert shown.walls is not None
    assert [(second(wall.start), second(wall.end)) for wall in shown.walls] == [(0, 1)]


def test_many_reports_are_thinned_and_no_stretch_is_lost(
    reports: list[Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(series_module, "MOST_POINTS", 15)
    shown = of(reports)
    assert (shown.every_nth, len(shown.times), len(shown.numbers["mid_price"])) == (3, 14, 14)
    assert shown.anomalies == of_whole(reports, monkeypatch).anomalies


def of_whole(reports: list[Report], monkeypatch: pytest.MonkeyPatch) -> Series:
    monkeypatch.undo()
    return of(reports)


def test_symbols_are_told_apart(two_symbols: list[Report]) -> None:
    table = pa.Table.from_batches([batch(two_symbols)])
    assert symbols(table) == ["BTCUSDT", "ETHUSDT"]
    assert [len(series(table, symbol).times) for symbol in symbols(table)] == [40, 40]
    with pytest.raises(PlotError, match="no reports of SOLUSDT, only of BTCUSDT, ETHUSDT"):
        series(table, "SOLUSDT")
