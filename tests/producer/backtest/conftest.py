"""Tapes written line by line, and the recorded one's reports, computed once."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from app.microstructure.engine import EngineParams
from producer.backtest.run import backtest
from producer.backtest.tape import TapeSource

SECOND = 1_000_000_000
# The recorder's clock is more than a second slow, and messages take their time.
RECEIVED_MS = 1_700_000_000_000
HAPPENED_MS = RECEIVED_MS + 1_270
Levels = Sequence[tuple[str, str]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let NautilusTrader's engine start: pandas does there what numpy warns of, and here warnings are errors."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.filterwarnings("ignore:The 'generic' unit for NumPy:DeprecationWarning"))


def ignore(_: int) -> None:
    """Take progress and do nothing."""


class TapeWriter:
    """Lines of a tape; each message is received at `at` ms and happened at `happened` ms of a common time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lines: list[str] = []

    def diff(
        self, at: int, first: int, final: int, bids: Levels = (), asks: Levels = (), *,
        happened: int | None = None, symbol: str = "BTCUSDT",
    ) -> "TapeWriter":  # fmt: skip
        time_ms = HAPPENED_MS + (at if happened is None else happened)
        data = {"e": "depthUpdate", "E": time_ms, "s": symbol, "U": first, "u": final, "b": bids, "a": asks}
        return self._message(at, f"{symbol.lower()}@depth@100ms", data)

    def trade(
        self, at: int, trade_id: int, price: str = "100.00000000", quantity: str = "1.00000000", *,
        happened: int | None = None, symbol: str = "BTCUSDT",
    ) -> "TapeWriter":  # fmt: skip
        time_ms = HAPPENED_MS + (at if happened is None else happened)
        data = {"e": "trade", "E": time_ms + 1, "s": symbol, "t": trade_id, "p": price, "q": quantity, "T": time_ms}
        return self._message(at, f"{symbol.lower()}@trade", data | {"m": False, "M": True})

    def ticker(self, at: int, last: str = "100.00000000", symbol: str = "BTCUSDT") -> "TapeWriter":
        texts = dict.fromkeys("pPwxQbBaAohlvq", "1.00000000") | {"c": last}
        numbers = dict.fromkeys("OCFLn", 1)
        data = {"e": "24hrTicker", "E": HAPPENED_MS + at, "s": symbol} | texts | numbers
        return self._message(at, f"{symbol.lower()}@ticker", data)

    def book_ticker(self, at: int, symbol: str = "BTCUSDT") -> "TapeWriter":
        data = {"u": 1, "s": symbol, "b": "1.0", "B": "1.0", "a": "2.0", "A": "1.0"}
        return self._message(at, f"{symbol.lower()}@bookTicker", data)

    def snapshot(self, at: int, update_id: int, bids: Levels, asks: Levels) -> "TapeWriter":
        return self.line(at, json.dumps({"lastUpdateId": update_id, "bids": bids, "asks": asks}))

    def line(self, at: int, body: str) -> "TapeWriter":
        self._lines.append(f"{(RECEIVED_MS + at) * 1_000_000} {body}\n")
        return self

    def save(self, name: str = "made.tape") -> Path:
        """Write the lines to a file and begin anew."""
        path = self._folder / name
        path.write_text("".join(self._lines))
        self._lines.clear()
        return path

    def _message(self, at: int, stream: str, data: dict[str, Any]) -> "TapeWriter":
        return self.line(at, json.dumps({"stream": stream, "data": data}))


@pytest.fixture
def tape(tmp_path: Path) -> TapeWriter:
    return TapeWriter(tmp_path)


@pytest.fixture
def small_tape(tape: TapeWriter) -> Path:
    """Give three seconds of a book and its trades: a diff each 100 ms, a trade each 70 ms."""
    tape.diff(0, 8, 10, [("99.00000000", "5.00000000")])
    tape.snapshot(
        30, 11, [("99.00000000", "5.00000000"), ("98.00000000", "1.00000000")], [("101.00000000", "2.00000000")]
    )
    trade_ids = iter(range(1, 1000))
    for at in range(70, 3_000, 10):
        if at % 100 == 0:
            update = 10 + at // 100
            tape.diff(at, update, update, [("99.00000000", f"{5 + at % 300}.00000000")])
        if at % 70 == 0:
            tape.trade(at, next(trade_ids), happened=at - 60)
    return tape.save("small.tape")


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., list[bytes]]:
    """Return a function that runs a backtest of tapes and returns the lines that it wrote."""

    def run(*paths: Path, every_ns: int = SECOND, params: EngineParams | None = None) -> list[bytes]:
        out = tmp_path / "reports.jsonl"
        backtest(TapeSource(paths), every_ns, params or EngineParams(), out, ignore)
        return out.read_bytes().splitlines()

    return run
