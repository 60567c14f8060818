"""Writes down what the exchange sends of some symbols, until told to stop.

Connections (`producer.connection`) and request limits (`producer.rest_limits`) are the live producer's. All streams
of a symbol lie on one connection, so the order between them is the exchange's. A line gets the time at which its
message was handled, never less than that of the line before. What is no message of the tape format is counted and left
out, since one such line would make the whole file unreadable.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from nautilus_trader.adapters.binance.common.enums import BinanceAccountType
from nautilus_trader.adapters.binance.http.client import BinanceHttpClient
from nautilus_trader.adapters.binance.spot.http.market import BinanceSpotMarketHttpAPI
from nautilus_trader.core.nautilus_pyo3 import HttpMethod

from producer import backoff
from producer.connection import Connection
from producer.exchange.messages import DepthSnapshot, DepthUpdate
from producer.exchange.tape import Payload, parse_line
from producer.metrics import Metrics
from producer.record.book import RecordedBook
from producer.record.tape_file import Rotation, TapeFile
from producer.symbols import listed_symbols
from producer.timing import Timing

KINDS: Final = ("trade", "depth@100ms", "bookTicker", "ticker")
"""The streams of a symbol that are recorded."""

SNAPSHOT_LIMIT: Final = 1000  # levels a side, as the live producer asks for
FLUSH_SEC: Final = 1.0
LAST_SNAPSHOT_SEC: Final = 5.0
_SYMBOLS_PER_CONNECTION: Final = 50

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Symbol:
    file: TapeFile
    book: RecordedBook = field(default_factory=RecordedBook)
    messages: int = 0
    fetching: asyncio.Task[None] | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """What there is of one symbol so far.

    Attributes:
        complete: whether the book can be replayed up to now.
        gaps: breaks in the diffs that were not a lost connection.
        size: bytes on the disk, over all `paths`.
    """

    symbol: str
    messages: int
    snapshots: int
    gaps: int
    complete: bool
    size: int
    paths: list[Path]


class Recorder:
    """One recording; needs a running event loop."""

    def __init__(self, out: Path, rotation: Rotation, http: BinanceHttpClient, ws_url: str, timing: Timing) -> None:
        self.metrics = Metrics()
        self.losses = 0
        self.not_understood = 0
        self._out = out
        self._rotation = rotation
        self._http = http
        self._ws_url = ws_url
        self._timing = timing
        self._symbols: dict[str, _Symbol] = {}
        self._connections: list[Connection] = []
        self._newest_ns = 0
        self._failed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def run(self, wanted: Sequence[str], stop: asyncio.Event) -> bool:
        """Record until `stop` is set; return whether any symbol was known to the exchange.

        Raises:
            OSError: a file exists already or cannot be written.
        """
        ends = asyncio.create_task(stop.wait())
        knowing = asyncio.create_task(self._known(wanted))
        try:
            await asyncio.wait([ends, knowing], return_when=asyncio.FIRST_COMPLETED)
            if not knowing.done():
                return True
            if not knowing.result():
                return False
            self._open_files(knowing.result())
            await self._record(ends)
        finally:
            knowing.cancel()
            ends.cancel()
            await self._close()
        return True

    def progress(self) -> list[Recorded]:
        """Return what there is of each symbol."""
        return [
            Recorded(
                name, it.messages, it.book.snapshots, it.book.gaps, it.book.known, it.file.size, list(it.file.paths)
            )
            for name, it in self._symbols.items()
        ]

    async def _known(self, wanted: Sequence[str]) -> list[str]:
        market = BinanceSpotMarketHttpAPI(self._http, BinanceAccountType.SPOT)
        return (await listed_symbols(market, wanted, self.metrics)).symbols

    def _open_files(self, symbols: Sequence[str]) -> None:
        for symbol in symbols:
            name = symbol if len(symbols) > 1 else None
            self._symbols[symbol] = _Symbol(TapeFile(self._out, name, self._rotation, time.monotonic()))

    async def _record(self, ends: asyncio.Task[bool]) -> None:
        names = list(self._symbols)
        for start in range(0, len(names), _SYMBOLS_PER_CONNECTION):
            symbols = names[start : start + _SYMBOLS_PER_CONNECTION]
            self._connections.append(
                Connection(
                    self._ws_url,
                    [f"{symbol.lower()}@{kind}" for symbol in symbols for kind in KINDS],
                    received=self._received,
                    ready=lambda streams: None,
                    lost=self._lost,
                    timing=self._timing,
                )
            )
        while not ends.done():
            await asyncio.wait([ends, self._failed], timeout=FLUSH_SEC, return_when=asyncio.FIRST_COMPLETED)
            if self._failed.done():
                self._failed.result()
            for symbol in self._symbols.values():
                if symbol.file.rotate(time.monotonic()):
                    symbol.book.begin_anew()
        # A gap just before the end needs its snapshot, or the tape cannot be played.
        fetching = [symbol.fetching for symbol in self._symbols.values() if symbol.fetching is not None]
        if fetching:
            await asyncio.wait(fetching, timeout=LAST_SNAPSHOT_SEC)

    async def _close(self) -> None:
        await asyncio.gather(*(connection.stop() for connection in self._connections))
        for symbol in self._symbols.values():
            if symbol.fetching is not None:
                symbol.fetching.cancel()
            symbol.file.close()

    def _received(self, raw: bytes) -> None:
        payload = self._write("", raw)
        if isinstance(payload, DepthUpdate) and self._symbols[payload.symbol].book.on_diff(payload):
            self._fetch(payload.symbol)

    def _write(self, symbol: str, body: bytes) -> Payload | None:
        """Write a line and return what it says; `symbol` is whose a snapshot is, which does not say it."""
        self._newest_ns = max(self._newest_ns, time.time_ns())
        line = b"%d %b" % (self._newest_ns, body.replace(b"\n", b" "))
        try:
            _, payload = parse_line(line)
            if payload is None:
                return None
            entry = self._symbols[symbol if isinstance(payload, DepthSnapshot) else payload.symbol]
        except (ValueError, KeyError) as error:
            self.not_understood += 1
            log.warning("message not recorded: %r: %.200r", error, body)
            return None
        try:
            entry.file.write(line)
        except OSError as error:
            if not self._failed.done():
                self._failed.set_exception(error)
        entry.messages += 1
        return payload

    def _lost(self, streams: Sequence[str], reason: str) -> None:
        self.losses += 1
        for name in {stream.partition("@")[0].upper() for stream in streams}:
            self._symbols[name].book.begin_anew()

    def _fetch(self, symbol: str) -> None:
        entry = self._symbols[symbol]
        if entry.fetching is None or entry.fetching.done():
            entry.fetching = asyncio.create_task(self._snapshot(symbol, entry), name=f"snapshot of {symbol}")

    async def _snapshot(self, symbol: str, entry: _Symbol) -> None:
        for delay in backoff.delays(self._timing.snapshot_first, self._timing.snapshot_longest):
            try:
                query = {"symbol": symbol, "limit": str(SNAPSHOT_LIMIT)}
                body = await self._http.send_request(HttpMethod.GET, "/api/v3/depth", query)
            except Exception as error:
                # Whatever it was, the next try may do better.
                log.warning("no depth snapshot of %s, next try in %.1f s: %r", symbol, delay, error)
            else:
                payload = self._write(symbol, body)
                if isinstance(payload, DepthSnapshot) and not entry.book.on_snapshot(payload):
                    return
            await asyncio.sleep(delay)
