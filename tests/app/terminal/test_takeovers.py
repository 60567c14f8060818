import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console

from app.terminal.takeovers import Takeovers
from app.terminal.watch_command import Watch
from support.live_market import reports

NOON_MS = 1_795_348_800_000  # 2026-11-22T12:00:00Z


def report(node: str, epoch: int, at_ms: int) -> dict[str, Any]:
    written = datetime.fromtimestamp((NOON_MS + at_ms) / 1000, UTC)
    return {
        "writer": {"nodeId": node, "writerToken": epoch},
        "updatedAt": NOON_MS + at_ms,
        "generated_at": written.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }


def lines(*looks: dict[str, dict[str, Any] | None]) -> list[str]:
    takeovers = Takeovers()
    for look in looks:
        takeovers.note(look)
    return takeovers.lines()


def test_reports_of_one_writer_are_no_takeover() -> None:
    assert lines({"BTCUSDT": report("w1", 1, 0)}, {"BTCUSDT": report("w1", 1, 250)}) == []


def test_a_takeover_is_told_with_the_time_between_the_two_reports() -> None:
    seen = lines(
        {"BTCUSDT": report("w1", 1, 0)},
        {"BTCUSDT": report("w1", 1, 250)},
        {"BTCUSDT": report("w1", 1, 250)},
        {"BTCUSDT": report("w2", 2, 560)},
    )
    assert seen == ["12:00:00 UTC  w1 → w2  BTCUSDT: 0.31 s between two reports"]


def test_symbols_that_go_the_same_way_share_a_line_with_the_longest_gap() -> None:
    seen = lines(
        {"BTCUSDT": report("w1", 1, 0), "ETHUSDT": report("w1", 1, 0), "SOLUSDT": report("w2", 1, 0)},
        {"BTCUSDT": report("w2", 2, 300), "ETHUSDT": report("w1", 1, 0), "SOLUSDT": report("w2", 1, 250)},
        {"BTCUSDT": report("w2", 2, 550), "ETHUSDT": report("w2", 2, 400), "SOLUSDT": report("w2", 1, 500)},
    )
    assert seen == ["12:00:00 UTC  w1 → w2  BTCUSDT, ETHUSDT: 0.40 s between two reports"]


def test_what_comes_back_later_has_a_line_of_its_own() -> None:
    seen = lines(
        {"BTCUSDT": report("w1", 1, 0)},
        {"BTCUSDT": report("w2", 2, 300)},
        {"BTCUSDT": report("w1", 3, 60_000)},
        {"BTCUSDT": report("w2", 4, 61_000)},
    )
    assert [line.partition("BTC")[0] for line in seen] == [
        "12:00:00 UTC  w1 → w2  ",
        "12:01:00 UTC  w2 → w1  ",
        "12:01:01 UTC  w1 → w2  ",
    ]


def test_a_worker_that_takes_a_new_epoch_is_told_too() -> None:
    seen = lines({"BTCUSDT": report("w1", 1, 0)}, {"BTCUSDT": report("w1", 2, 900)})
    assert seen == ["12:00:00 UTC  w1 again  BTCUSDT: 0.90 s between two reports"]


def test_a_symbol_without_a_report_for_a_while_is_compared_with_its_last_one() -> None:
    seen = lines({"BTCUSDT": report("w1", 1, 0)}, {"BTCUSDT": None}, {"BTCUSDT": report("w2", 2, 5_000)})
    assert seen == ["12:00:05 UTC  w1 → w2  BTCUSDT: 5.00 s between two reports"]


def test_a_successor_with_a_clock_behind_shows_no_negative_time() -> None:
    assert "0.00 s" in lines({"BTCUSDT": report("w1", 1, 500)}, {"BTCUSDT": report("w2", 2, 0)})[0]


def test_watch_tells_takeovers_below_its_table() -> None:
    class TwoWriters:
        """A source whose report comes from another worker each time."""

        looks = 0

        async def symbols(self) -> list[str]:
            return ["BTCUSDT"]

        async def report(self, symbol: str) -> dict[str, Any] | None:
            raise AssertionError(symbol)

        async def reports(self, symbols: Sequence[str]) -> dict[str, dict[str, Any] | None]:
            self.looks += 1
            written = report(f"w{self.looks}", self.looks, self.looks * 300)
            return {symbol: {**body, **written} for symbol in symbols}

        async def close(self) -> None:
            pass

    body = json.loads(list(reports("BTCUSDT", seconds=2))[-1])
    console = Console(width=160, color_system=None)
    watch = Watch(TwoWriters(), (), console)
    for _ in range(2):
        asyncio.run(watch.look())

    with console.capture() as shown:
        console.print(watch.table())

    assert shown.get().splitlines()[-1].strip() == "12:00:00 UTC  w1 → w2  BTCUSDT: 0.30 s between two reports"
