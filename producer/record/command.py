"""`context8 record`: write live market data to tapes until SIGTERM, Ctrl-C or the end of `--seconds`."""

import argparse
import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from app.microstructure.events import SYMBOL_ALLOWED, is_symbol
from app.settings import Settings, SettingsError, load
from producer.log_output import NativeOutput
from producer.record.tape_file import ENDING, Rotation

if TYPE_CHECKING:
    from producer.record.recorder import Recorded, Recorder

HELP: Final = "write live market data to tapes, for backtest, plot and exchange"

_SAY_SEC: Final = 10.0
_RANGES: Final = {
    "seconds": (1.0, 31_536_000.0),
    "rotate_mb": (0.001, 1_000_000.0),
    "rotate_minutes": (0.01, 525_600.0),
}


class UsageError(ValueError):
    """One line that names the argument and what is allowed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments; `run` checks them, so that a bad one is told in one line."""
    parser.add_argument("--symbols", metavar="A,B,…", help="what to record, in place of the variable SYMBOLS")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE.tape.gz",
        help="several symbols get a file each, FILE.SYMBOL.tape.gz; parts are numbered",
    )
    parser.add_argument("--seconds", type=float, metavar="N", help="end by itself after so long")
    parser.add_argument("--rotate-mb", type=float, metavar="N", help="begin a new part after so many megabytes")
    parser.add_argument("--rotate-minutes", type=float, metavar="N", help="begin a new part after so many minutes")


def run(args: argparse.Namespace) -> int:
    """Record; return 0, 1 if nothing could be recorded or written, 2 for arguments that are not allowed."""
    try:
        settings = load()
        _check(args)
        symbols = _symbols(args.symbols) if args.symbols else settings.symbols
    except (SettingsError, UsageError) as error:
        return _fail(error, code=2)
    native = NativeOutput()
    native.start()
    try:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("context8 record: %(message)s"))
        logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
        return _record(args, settings, symbols)
    finally:
        native.drain()


def _record(args: argparse.Namespace, settings: Settings, symbols: tuple[str, ...]) -> int:
    import uvloop

    try:
        return uvloop.run(_run(args, settings, symbols))
    except OSError as error:
        name = error.filename or args.out
        return _fail(f"{name}: {error.strerror or error}", code=1)


async def _run(args: argparse.Namespace, settings: Settings, symbols: tuple[str, ...]) -> int:
    import asyncio
    import signal

    from producer.node import BINANCE_HTTP_URL, BINANCE_WS_URL
    from producer.record.recorder import Recorder
    from producer.rest_limits import limited_http
    from producer.timing import Timing

    loop, stop, timing = asyncio.get_running_loop(), asyncio.Event(), Timing(idle=settings.exchange_idle_ms / 1000)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if args.seconds is not None:
        loop.call_later(args.seconds, stop.set)
    http = limited_http(settings.binance_http_url or BINANCE_HTTP_URL, None, None, timing.snapshot_limit)
    recorder = Recorder(args.out, _rotation(args), http, settings.binance_ws_url or BINANCE_WS_URL, timing)
    saying = asyncio.create_task(_say(recorder))
    try:
        known = await recorder.run(symbols, stop)
    finally:
        saying.cancel()
    return _conclude(recorder) if known else _fail("no symbol is left to record", code=1)


async def _say(recorder: "Recorder") -> None:
    """Keep a line of progress on a terminal up to date; write one now and then where there is none."""
    import asyncio

    from rich.console import Console

    console, began = Console(stderr=True), time.monotonic()
    if not console.is_terminal:
        while True:
            await asyncio.sleep(_SAY_SEC)
            print(f"context8 record: {_line(recorder, began)}", file=sys.stderr)
    with console.status("waiting for the exchange") as status:
        while True:
            await asyncio.sleep(0.5)
            status.update(_line(recorder, began))


def _line(recorder: "Recorder", began: float) -> str:
    parts = recorder.progress()
    waiting = [part.symbol for part in parts if not part.complete]
    line = (
        f"{time.monotonic() - began:.0f} s: {sum(part.messages for part in parts):,} messages of {_count(parts)}, "
        f"{sum(part.size for part in parts) / 1e6:.1f} MB, {recorder.losses} connections lost"
    )
    return f"{line}; no book yet of {', '.join(waiting[:5])}" if waiting else line


def _count(parts: "list[Recorded]") -> str:
    return parts[0].symbol if len(parts) == 1 else f"{len(parts)} symbols"


def _conclude(recorder: "Recorder") -> int:
    parts = recorder.progress()
    for part in parts:
        print(_summary(part))
    if recorder.not_understood:
        print(f"context8 record: {recorder.not_understood} messages were not understood", file=sys.stderr)
    if not any(part.messages for part in parts):
        return _fail("nothing was received", code=1)
    return 0


def _summary(part: "Recorded") -> str:
    names = str(part.paths[0]) if len(part.paths) == 1 else f"{part.paths[0]} to {part.paths[-1].name}"
    book = "" if part.complete else "; the book is not complete"
    return (
        f"{names}: {part.messages:,} messages of {part.symbol}, {part.snapshots} snapshots, {part.gaps} gaps, "
        f"{part.size / 1e6:.2f} MB{book}"
    )


def _check(args: argparse.Namespace) -> None:
    if not args.out.name.endswith(ENDING) or args.out.name == ENDING:
        raise UsageError(f"--out {args.out} is not allowed: a name that ends in {ENDING}")
    if not args.out.parent.is_dir():
        raise UsageError(f"--out {args.out} is not allowed: a file in a folder that exists")
    for name, (least, most) in _RANGES.items():
        value = getattr(args, name)
        if value is not None and not least <= value <= most:
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(f"{flag} {value:g} is not allowed: {least:g} to {most:g}")


def _rotation(args: argparse.Namespace) -> Rotation:
    return Rotation(
        most_bytes=None if args.rotate_mb is None else int(args.rotate_mb * 1e6),
        most_seconds=None if args.rotate_minutes is None else args.rotate_minutes * 60,
    )


def _symbols(text: str) -> tuple[str, ...]:
    symbols = tuple(part.strip() for part in text.split(","))
    if not all(map(is_symbol, symbols)) or len(set(symbols)) < len(symbols):
        raise UsageError(f"--symbols {text!r} is not allowed: a comma-separated list, each {SYMBOL_ALLOWED}")
    return symbols


def _fail(problem: object, code: int) -> int:
    print(f"context8 record: {problem}", file=sys.stderr)
    return code
