"""Reports of a made market, with everything in them that a picture shows."""

from collections.abc import Iterable
from pathlib import Path

import pytest
from msgspec.structs import replace

from app.microstructure.engine import EngineParams, SymbolEngine
from app.microstructure.report import Anomaly, Liquidity, Report, Stamp, Vacuum, VolumeProfile, Wall, encode
from support.markets import SECOND, START, deltas, snapshot, trade


def made_reports(count: int = 40, symbol: str = "BTCUSDT") -> list[Report]:
    """Return a report a second; the book is lost from the 10th to the 14th."""
    engine = SymbolEngine(symbol, EngineParams())
    found = []
    for number in range(count):
        at, mid = START + number * SECOND, 100 + number % 7
        events = [trade(number + 1, mid, 0.5, "buy" if number % 3 else "sell", at=at, symbol=symbol)]
        lost = 10 <= number < 15
        book = snapshot(number + 1, [(mid - 1, 3.0)], [(mid + 1, 1.0 + number)], at=at, symbol=symbol)
        offset = 2 * number
        engine.apply(deltas(number + 1, number + 1, snapshot=True, at=at, symbol=symbol) if lost else book, offset)
        engine.apply(events[0], offset + 1)
        report = engine.report(at, Stamp("backtest", 1, 0, at))
        found.append(replace(report, liquidity=_liquidity(number, mid), anomalies=_anomalies(number)))
    return found


def _liquidity(number: int, mid: float) -> Liquidity:
    walls = (Wall("bid", 97.0, 9.0, "high" if number == 5 else "low"),) if number < 20 else ()
    vacuums = (Vacuum(mid + 2.0, mid + 1.0, "medium"),) if number % 2 else ()
    return Liquidity(walls, vacuums, VolumeProfile(102.0, 104.0, 101.0, 1800, number + 1))


def _anomalies(number: int) -> tuple[Anomaly, ...]:
    found = []
    if 3 <= number < 6:
        found.append(Anomaly("spoofing", "high" if number == 4 else "low", f"note {number}"))
    if number in (20, 30):
        found.append(Anomaly("flash_crash_risk", "medium", "2 of 3"))
    return tuple(found)


def unknown(report: Report) -> Report:
    """Return the report without anything that may be unknown."""
    return replace(report, liquidity=Liquidity(), anomalies=None)


def save(path: Path, reports: Iterable[Report]) -> Path:
    """Write reports as JSON Lines."""
    path.write_bytes(b"".join(encode(report) + b"\n" for report in reports))
    return path


@pytest.fixture
def reports() -> list[Report]:
    return made_reports()


@pytest.fixture
def unknown_reports() -> list[Report]:
    return [unknown(report) for report in made_reports()]


@pytest.fixture
def two_symbols() -> list[Report]:
    pairs = zip(made_reports(), made_reports(symbol="ETHUSDT"), strict=True)
    return [report for pair in pairs for report in pair]


@pytest.fixture
def report_file(tmp_path: Path, reports: list[Report]) -> Path:
    return save(tmp_path / "reports.jsonl", reports)
