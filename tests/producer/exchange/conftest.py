"""Markets to test with: a recording made from the synthetic market, and the real one where it is there."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Protocol

import msgspec
import pytest
from aiohttp import ClientSession

from producer.exchange.messages import DepthSnapshot
from producer.exchange.replay import TapeMarket
from producer.exchange.server import ExchangeServer
from producer.exchange.sim import SimMarket
from producer.exchange.survey import survey
from producer.exchange.tape import Record, read_tape

START_NS = 1_700_000_000_000_000_000
RECORDED_TAPE = Path(__file__).parents[4] / "shared" / "data" / "btcusdt_spot.tape.gz"


class Everything:
    """A listener to every stream."""

    def __contains__(self, stream: object) -> bool:
        return True


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now_ns = START_NS

    def __call__(self) -> int:
        return self.now_ns

    def pass_time(self, seconds: float) -> None:
        self.now_ns += int(seconds * 1e9)


class Recorder(Protocol):
    def __call__(self, symbol: str = ..., *, seconds: float = ..., snapshot_at: float = ...) -> Path: ...


@pytest.fixture
def everything() -> Everything:
    return Everything()


@pytest.fixture(scope="session")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Recorder:
    """Write a tape of the synthetic market, its snapshot coming some time after the first diffs.

    The venue's clock is 1.5 s ahead of the recorder's, and messages take 2 ms.
    """

    def record(symbol: str = "BTCUSDT", *, seconds: float = 3.0, snapshot_at: float = 0.35) -> Path:
        market = SimMarket([symbol], seed=3, rate=60, start_ns=START_NS)
        wanted = {f"{symbol.lower()}@{kind}" for kind in ("trade", "depth@100ms", "bookTicker")}
        path = tmp_path_factory.mktemp("tape") / f"{symbol.lower()}.tape"
        snapshot_ms = int(snapshot_at * 1000)
        with path.open("wb") as out:
            for elapsed_ms in range(1, int(seconds * 1000) + 1):
                now_ns = START_NS + elapsed_ms * 1_000_000
                receive_ns = now_ns - 1_500_000_000 + 2_000_000
                for message in market.advance(now_ns, wanted):
                    out.write(b"%d %b\n" % (receive_ns, message.combined()))
                if elapsed_ms == snapshot_ms:
                    snapshot = DepthSnapshot.of(market.depth(symbol, 1000))
                    out.write(b"%d %b\n" % (receive_ns, msgspec.json.encode(snapshot)))
        return path

    return record


@pytest.fixture(scope="session")
def made_tape(recorder: Recorder) -> Path:
    return recorder()


@pytest.fixture(scope="session")
def recorded_tape() -> Path:
    if not RECORDED_TAPE.exists():
        pytest.skip(f"the recorded tape is not at {RECORDED_TAPE}")
    return RECORDED_TAPE


@pytest.fixture
def open_tape() -> Callable[..., TapeMarket]:
    """Return a function that opens a tape as a market."""

    def open_it(*paths: Path, **options: float) -> TapeMarket:
        def read() -> Iterator[Record]:
            return read_tape(paths)

        return TapeMarket(survey(read()), read, **options)  # type: ignore[arg-type]  # named options of several types

    return open_it


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pass_time(clock: Clock) -> Callable[[float], None]:
    """Return what moves the servers' clock by some seconds."""
    return clock.pass_time


@pytest.fixture
def sim() -> SimMarket:
    return SimMarket(["BTCUSDT", "ETHUSDT"], seed=7, rate=100, start_ns=START_NS)


@pytest.fixture
async def server(sim: SimMarket, clock: Clock) -> AsyncIterator[ExchangeServer]:
    """Serve the synthetic market on a free port."""
    async with ExchangeServer(sim, clock=clock) as server:
        yield server


@pytest.fixture
async def http(server: ExchangeServer) -> AsyncIterator[ClientSession]:
    async with ClientSession(server.http_url) as session:
        yield session
