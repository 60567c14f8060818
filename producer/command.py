"""`context8 producer`: read the exchange and publish events until SIGTERM or SIGINT.

SIGHUP has SYMBOLS read again from `.env`. A variable of the environment cannot change while a process runs, and wins
over `.env`, as does `--symbols`. It is handled before all else, since it would end the process otherwise; so nothing
that takes time is imported before.
"""

import argparse
from typing import Final

from producer.hang_ups import HangUps

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
    hang_ups = HangUps()

    from producer.start import start

    return start(args.symbols, hang_ups)


def _symbols(text: str) -> tuple[str, ...]:
    from app.microstructure.events import SYMBOL_ALLOWED, is_symbol

    symbols = tuple(part.strip() for part in text.split(","))
    if not all(map(is_symbol, symbols)) or len(set(symbols)) < len(symbols):
        raise argparse.ArgumentTypeError(f"{text!r}: allowed is a comma-separated list, each {SYMBOL_ALLOWED}")
    return symbols
