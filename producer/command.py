"""`context8 producer`: read the exchange and publish events until SIGTERM or SIGINT.

SIGHUP has SYMBOLS read again from `.env`. A variable of the environment cannot change while a process runs, and wins
over `.env`, as does `--symbols`.
"""

import argparse
import logging
import sys
from collections.abc import Callable
from typing import Final

import msgspec

from app import logs
from app.microstructure.events import SYMBOL_ALLOWED, is_symbol
from app.settings import Settings, SettingsError, load
from producer.log_output import NativeOutput

HELP: Final = "read Binance Spot and publish market events to Kafka"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--symbols",
        type=_symbols,
        metavar="A,B,…",
        help="what to subscribe to, in place of the variable SYMBOLS, which SIGHUP has read again from .env",
    )


def run(args: argparse.Namespace) -> int:
    """Run until a signal; return the exit code."""
    try:
        settings = load()
    except SettingsError as error:
        print(f"context8 producer: {error}", file=sys.stderr)
        return 2
    if args.symbols:
        settings = msgspec.structs.replace(settings, symbols=args.symbols)
    native = NativeOutput()
    native.start()
    try:
        logs.configure("producer", settings.node_id, settings.log_level)
        # While Kafka is away aiokafka says so 30 times a second; the publisher says it once.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        return _produce(settings, lambda: args.symbols or load().symbols)
    finally:
        native.stop()


def _produce(settings: Settings, wanted: Callable[[], tuple[str, ...]]) -> int:
    import asyncio

    import uvloop

    from producer.node import Producer

    producer = Producer(settings, wanted)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            code = runner.run(producer.run())
    except OSError as error:
        print(f"context8 producer: port {settings.producer_http_port}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    producer.dispose()
    return code


def _symbols(text: str) -> tuple[str, ...]:
    symbols = tuple(part.strip() for part in text.split(","))
    if not all(map(is_symbol, symbols)) or len(set(symbols)) < len(symbols):
        raise argparse.ArgumentTypeError(f"{text!r}: allowed is a comma-separated list, each {SYMBOL_ALLOWED}")
    return symbols
