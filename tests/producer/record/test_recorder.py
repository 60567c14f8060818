"""What is recorded from a real exchange server: every message as it was sent, books that replay, whole files."""

import asyncio
import gzip
import json
import sys
import time
from collections.abc import Awaitable, Callable, Container, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.microstructure.engine import EngineParams
from app.stack.process import Child
from producer.backtest.run import backtest
from producer.backtest.tape import TapeSource
from producer.exchange.book import Depth
from producer.exchange.faults import Drop, Lose, Nonsense
from producer.exchange.messages import Message
from producer.exchange.replay import TapeMarket
from producer.exchange.server import ExchangeServer
from producer.exchange.sim import SimMarket
from producer.exchange.survey import survey
from producer.exchange.tape import Record, read_tape
from producer.record.recorder import KINDS, Recorder
from producer.record.tape_file import Rotation
from producer.rest_limits import limited_http
from producer.timing import Timing

Until = Callable[..., Awaitable[None]]

ROOT = Path(__file__).parents[3]
SECOND = 1_000_000_000
QUICK = Timing(reconnect_first=0.05, reconnect_longest=0.1, snapshot_first=0.05, snapshot_longest=0.1)


class NotedMarket(SimMarket):
    """Remembers all that it published."""

    def __init__(self, symbols: list[str], rate: float = 60) -> None:
        super().__init__(symbols, seed=3, rate=rate, start_ns=time.time_ns())
        self.published: list[bytes] = []

    def advance(self, now_ns: int, wanted: Container[str]) -> Iterator[Message]:
        for message in super().advance(now_ns, wanted):
            self.published.append(message.combined())
            yield message


def recorder_of(server: ExchangeServer, out: Path, rotation: Rotation | None = None) -> Recorder:
    http = limited_http(server.http_url, None, None, 5.0)
    return Recorder(out, rotation or Rotation(), http, server.ws_url, QUICK)


async def record(recorder: Recorder, symbols: list[str], enough: Callable[[], bool], until: Until) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(recorder.run(symbols, stop))
    await until(lambda: running.done() or enough())
    stop.set()
    assert await running


def bodies(path: Path) -> list[bytes]:
    with gzip.open(path) as lines:
        return [line.rstrip(b"\n").partition(b" ")[2] for line in lines]


def reports(paths: list[Path], folder: Path, every_ns: int = SECOND // 10) -> list[dict[str, Any]]:
    out = folder / "reports.jsonl"
    backtest(TapeSource(paths), every_ns, EngineParams(), out, lambda count: None)
    return [json.loads(line) for line in out.read_bytes().splitlines()]


async def test_every_message_is_recorded_as_it_was_sent_with_a_snapshot_that_fits(tmp_path: Path, until: Until) -> None:
    market, out = NotedMarket(["BTCUSDT"]), tmp_path / "a.tape.gz"
    async with ExchangeServer(market) as server:
        recorder = recorder_of(server, out)

        def enough() -> bool:
            return bool(recorder.progress()) and recorder.progress()[0].messages > 300

        await record(recorder, ["NOSUCH", "BTCUSDT"], enough, until)
    recorded = bodies(out)
    messages = [body for body in recorded if body.startswith(b'{"stream"')]
    first = market.published.index(messages[0])
    assert messages == market.published[first : first + len(messages)]
    assert {body.partition(b'"stream":"btcusdt@')[2].partition(b'"')[0].decode() for body in messages} == set(KINDS)
    assert len(recorded) == len(messages) + 1, "one snapshot"
    times = [record.receive_ns for record in read_tape([out])]
    assert times == sorted(times)
    assert reports([out], tmp_path)[-1]["provenance"]["book_ok"]


class PatientTape(TapeMarket):
    """A tape that stands still after its second diff until its snapshot has been asked for.

    The recorded snapshot lies between the second and the third diff, which at 40 times its speed are 2.5 ms apart.
    """

    STANDS_NS = 150_000_000 // 40

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._asked = False
        self._stood_ns = 0

    def depth(self, symbol: str, limit: int) -> Depth:
        self._asked = True
        return super().depth(symbol, limit)

    def advance(self, now_ns: int, wanted: Container[str]) -> Iterator[Message]:
        if not self._asked and self._start_ns is not None:
            self._stood_ns = max(0, now_ns - self._start_ns - self.STANDS_NS)
        return super().advance(now_ns - self._stood_ns, wanted)


@pytest.mark.tape
async def test_a_recording_of_the_recorded_market_gives_the_same_reports(
    tape_path: Path, tmp_path: Path, until: Until
) -> None:
    def open_tape() -> Iterator[Record]:
        return read_tape([tape_path])

    tape = survey(open_tape())
    market = PatientTape(tape, open_tape, speed=40, keep_times=True, start_delay_ns=SECOND)
    out = tmp_path / "a.tape.gz"
    async with ExchangeServer(market) as server:
        recorder = recorder_of(server, out)

        def played() -> bool:
            # Beside the tape's messages come the 24 h tickers that the exchange makes of them.
            return bool(recorder.progress()) and recorder.progress()[0].messages >= tape.lines + 340

        await record(recorder, ["BTCUSDT"], played, until)
    same = tmp_path / "without-tickers.tape.gz"
    with gzip.open(out) as lines, gzip.open(same, "wb") as kept:
        kept.writelines(line for line in lines if b"@ticker" not in line)
    recorded, source = reports([same], tmp_path, SECOND), reports([tape_path], tmp_path, SECOND)
    assert len(source) == 346
    different = [mine["generated_at"] for mine, theirs in zip(recorded, source, strict=True) if mine != theirs]
    assert different == []


async def test_lost_diffs_a_lost_connection_and_a_damaged_snapshot_leave_a_tape_that_replays(
    tmp_path: Path, until: Until
) -> None:
    market, out = NotedMarket(["BTCUSDT", "ETHUSDT"]), tmp_path / "a.tape.gz"
    async with ExchangeServer(market) as server:
        recorder = recorder_of(server, out)
        stop = asyncio.Event()
        running = asyncio.create_task(recorder.run(["BTCUSDT", "ETHUSDT"], stop))

        def complete(losses: int, gaps: int) -> bool:
            parts = recorder.progress()
            return (
                bool(parts) and recorder.losses == losses and parts[0].gaps == gaps and all(it.complete for it in parts)
            )

        await until(lambda: complete(losses=0, gaps=0))
        server.faults.inject(Nonsense(count=1))
        server.faults.inject(Lose("btcusdt@depth@100ms", 2))
        await until(lambda: complete(losses=0, gaps=1))
        server.faults.inject(Drop())
        await until(lambda: complete(losses=1, gaps=1))
        now = recorder.progress()[0].messages
        await until(lambda: recorder.progress()[0].messages > now + 60)
        stop.set()
        await running
    assert recorder.not_understood == 1
    paths = [tmp_path / "a.BTCUSDT.tape.gz", tmp_path / "a.ETHUSDT.tape.gz"]
    survey(read_tape(paths))
    for path in paths:
        assert reports([path], tmp_path)[-1]["provenance"]["book_ok"]


async def test_each_part_replays_alone_and_all_of_them_as_one(tmp_path: Path, until: Until) -> None:
    market, out = NotedMarket(["BTCUSDT"]), tmp_path / "a.tape.gz"
    async with ExchangeServer(market) as server:
        recorder = recorder_of(server, out, Rotation(most_seconds=1.5))

        def enough() -> bool:
            parts = recorder.progress()
            return bool(parts) and len(parts[0].paths) == 3 and parts[0].complete

        await record(recorder, ["BTCUSDT"], enough, until)
    paths = recorder.progress()[0].paths
    for path in paths[:2]:  # the last one has only begun
        survey(read_tape([path]))
        assert reports([path], tmp_path)[-1]["provenance"]["book_ok"]
    whole = reports(paths, tmp_path)
    known = [report["provenance"]["book_ok"] for report in whole]
    assert all(known[known.index(True) :]), "a new part does not interrupt the book"
    messages = [body for path in paths for body in bodies(path) if body.startswith(b'{"stream"')]
    first = market.published.index(messages[0])
    assert messages == market.published[first : first + len(messages)]


async def test_no_symbol_that_is_known_is_told(tmp_path: Path) -> None:
    async with ExchangeServer(SimMarket(["BTCUSDT"], seed=1, rate=5, start_ns=time.time_ns())) as server:
        assert not await recorder_of(server, tmp_path / "a.tape.gz").run(["NOSUCH"], asyncio.Event())
    assert survived(tmp_path) == []


def survived(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def child(server: ExchangeServer, out: Path, *arguments: str) -> Child:
    command = [sys.executable, "-m", "app.cli", "record", "--symbols", "BTCUSDT", "--out", str(out), *arguments]
    env = {"BINANCE_HTTP_URL": server.http_url, "BINANCE_WS_URL": server.ws_url}
    return Child("record", command, log=out.parent / "record.log", env=env, cwd=ROOT)


async def test_a_recording_that_is_killed_can_be_read_to_its_end(tmp_path: Path, until: Until) -> None:
    out = tmp_path / "a.tape.gz"
    async with ExchangeServer(NotedMarket(["BTCUSDT"], rate=200)) as server:
        process = child(server, out)
        process.start()
        await until(lambda: out.exists() and out.stat().st_size > 20_000)
        process.kill()
    assert survey(read_tape([out])).lines > 100
    assert reports([out], tmp_path)[-1]["provenance"]["book_ok"]


async def test_sigterm_ends_it_with_everything_written_and_one_line(tmp_path: Path, until: Until) -> None:
    out = tmp_path / "a.tape.gz"
    async with ExchangeServer(NotedMarket(["BTCUSDT"])) as server:
        process = child(server, out)
        process.start()
        await until(lambda: out.exists() and out.stat().st_size > 5_000)
        assert await asyncio.to_thread(process.stop, 20) == 0
    lines = len(bodies(out))
    assert f"{out}: {lines:,} messages of BTCUSDT, 1 snapshots, 0 gaps" in process.log.read_text()
