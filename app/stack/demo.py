"""`context8 demo`: the whole system on this machine, with a live table of what the reader answers.

Everything in the table came the whole way: exchange, NautilusTrader, Kafka, Faust, Redis, reader.
"""

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
from aiohttp import ClientError, ClientSession, ClientTimeout
from rich.console import Console
from rich.live import Live

from app.arguments import seconds
from app.microstructure.events import SYMBOL_ALLOWED, is_symbol
from app.stack.board import live_table, summary_table
from app.stack.errors import StackError
from app.stack.ports import MAX_WORKERS
from app.stack.prometheus import Prometheus, targets
from app.stack.samples import Samples
from app.stack.system import System, SystemOptions

HELP: Final = "run the whole system on this machine and show live reports"
DEFAULT_SYMBOLS: Final = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
_POLL_SEC: Final = 0.05
_FIRST_REPORT_SEC: Final = 30.0
_INTERRUPTED: Final = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the demo's options."""
    parser.add_argument("--seconds", type=seconds(1), help="end by itself after so long; without, Ctrl-C ends it")
    parser.add_argument("--symbols", type=_symbols, default=DEFAULT_SYMBOLS, metavar="A,B,…", help="what to show")
    parser.add_argument("--workers", type=_workers, default=1, metavar="N", help="worker processes (default: 1)")
    parser.add_argument("--tape", type=_tape, nargs="+", default=[], metavar="FILE", help="play recorded data")
    parser.add_argument(
        "--scenario",
        metavar="NAME@TIME[:SYMBOL],…",
        help="play patterns in the simulated market, see context8 exchange",
    )
    parser.add_argument(
        "--observe", action="store_true", help="run Prometheus on it, with the project's rules and alerts"
    )
    parser.add_argument("--port-base", type=int, metavar="N", help="move every port to the block that begins here")


def run(args: argparse.Namespace) -> int:
    """Run the demo; 0 if every symbol got fresh reports to the end, 1 otherwise."""
    if args.scenario and args.tape:
        print("context8 demo: --scenario does not work with --tape", file=sys.stderr)
        return 2
    options = SystemOptions(args.symbols, tuple(args.tape), args.workers, args.port_base, args.scenario)
    folder = Path(tempfile.mkdtemp(prefix="context8-demo-"))
    signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        system = System(options, folder)
        watched = targets(system.ports, options.workers)
        prometheus = Prometheus(folder / "prometheus", watched) if args.observe else None
        code = Demo(system, Console(), args.seconds, prometheus).run()
    except StackError as error:
        print(f"context8 demo: {error}", file=sys.stderr)
        code = 1
    if code in (0, _INTERRUPTED) or not any(folder.iterdir()):
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"logs are in {folder}", file=sys.stderr)
    return code


class Demo:
    """One run of the demo."""

    def __init__(
        self, system: System, console: Console, seconds: float | None, prometheus: Prometheus | None = None
    ) -> None:
        self._system = system
        self._prometheus = prometheus
        self._console = console
        self._seconds = seconds
        self._started = time.monotonic()
        self._samples: dict[str, Samples] = {}

    def run(self) -> int:
        """Start everything, watch, stop everything; return the exit code."""
        try:
            self._start()
            asyncio.run(self._watch())
        except KeyboardInterrupt:
            self._console.print("\nstopping …")
        except BaseException:
            self._stop()
            raise
        now = time.monotonic()
        self._stop()
        return self._conclude(now)

    def _start(self) -> None:
        system = self._system
        self._step("kafka, redis, topics", system.start_servers)
        self._step("exchange", system.start_exchange)
        self._step(f"{system.options.workers} worker(s)", system.start_workers)
        self._step("reader", system.start_reader)
        if self._prometheus is not None:
            self._step("prometheus", self._prometheus.start)
        self._step("producer", system.start_producer)
        self._samples = {symbol: Samples() for symbol in system.symbols}
        url = system.reader_url
        self._console.print(f"\n  board    {url}/")
        self._console.print(f"  reader   {url}/get_report?symbol={system.symbols[0]}")
        self._console.print(f"  MCP      {url}/mcp")
        if self._prometheus is not None:
            self._console.print(f"  alerts   {self._prometheus.alerts_url}")
        self._console.print(f"  Kafka    {system.kafka.bootstrap}   Redis  {system.redis.url}\n")

    def _step(self, name: str, act: Callable[[], object]) -> None:
        started = time.monotonic()
        act()
        self._console.print(f"  [green]✓[/] {name}  [dim]({time.monotonic() - started:.1f} s)[/]", highlight=False)

    async def _watch(self) -> None:
        deadline = None if self._seconds is None else time.monotonic() + self._seconds
        live = Live(console=self._console, refresh_per_second=4, get_renderable=lambda: live_table(self._samples))
        async with ClientSession(self._system.reader_url, timeout=ClientTimeout(total=2)) as session:
            with live:
                while deadline is None or time.monotonic() < deadline:
                    await asyncio.gather(*(self._look(session, symbol) for symbol in self._samples))
                    self._require_alive()
                    await asyncio.sleep(_POLL_SEC)

    async def _look(self, session: ClientSession, symbol: str) -> None:
        try:
            async with session.get("/get_report", params={"symbol": symbol}) as answer:
                body = await answer.read()
                status = answer.status
        except (ClientError, TimeoutError):
            return  # the summary shows what did not come
        report = msgspec.json.decode(body) if status == 200 else None
        if report is not None:
            self._samples[symbol].note(report, time.monotonic())

    def _require_alive(self) -> None:
        ended = self._system.ended()
        if ended is None and self._prometheus is not None and not self._prometheus.process.running:
            ended = self._prometheus.process
        if ended is not None:
            raise StackError(f"{ended.name} ended with exit code {ended.exit_code}:\n{ended.log_tail()}")
        waited = time.monotonic() - self._started
        missing = [symbol for symbol, sample in self._samples.items() if sample.latest is None]
        if missing and waited > _FIRST_REPORT_SEC + (self._seconds or 0):
            raise StackError(f"no report of {', '.join(missing)} after {waited:.0f} s")

    def _stop(self) -> None:
        previous = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave processes behind
        try:
            if self._prometheus is not None:
                self._prometheus.stop()
            self._system.stop()
        finally:
            signal.signal(signal.SIGINT, previous)

    def _conclude(self, now: float) -> int:
        if not self._samples:
            return _INTERRUPTED
        self._console.print()
        self._console.print(summary_table(self._samples))
        firsts = [sample.first_seen_at for sample in self._samples.values() if sample.first_seen_at is not None]
        if firsts:
            self._console.print(f"time to first report: {min(firsts) - self._started:.1f} s", highlight=False)
        if len(firsts) == len(self._samples):
            self._console.print(f"time to every symbol: {max(firsts) - self._started:.1f} s", highlight=False)
        troubles = {symbol: sample.trouble(now) for symbol, sample in self._samples.items()}
        for symbol, trouble in troubles.items():
            if trouble:
                self._console.print(f"[red]✗[/] {symbol}: {trouble}", highlight=False)
        return 1 if any(troubles.values()) else 0


def _as_interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _symbols(text: str) -> tuple[str, ...]:
    symbols = tuple(part.strip() for part in text.split(","))
    if not all(map(is_symbol, symbols)) or len(set(symbols)) < len(symbols):
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed: a comma-separated list, each {SYMBOL_ALLOWED}")
    return symbols


def _workers(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_WORKERS:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed: a whole number from 1 to {MAX_WORKERS}")
    return int(text)


def _tape(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed: no such file")
    return path.resolve()
