"""`context8 report SYMBOL`: the newest report of one symbol, for people or as JSON."""

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from app.terminal.source import Source

HELP: Final = "show the newest report of a symbol"
_MOST_NAMED: Final = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    from app.terminal.source import add_source_arguments

    parser.add_argument("symbol", type=_symbol, metavar="SYMBOL", help="such as BTCUSDT")
    parser.add_argument("--json", action="store_true", help="print the report as it is, on one line")
    add_source_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print the report; return 0, 1 if there is none or no answer, 2 for a setting that is not allowed."""
    from app.settings import SettingsError
    from app.terminal.source import SourceError, open_source

    try:
        report = asyncio.run(_read(open_source(args), args.symbol))
    except SettingsError as error:
        return _failed(str(error), 2)
    except SourceError as error:
        return _failed(str(error), 1)
    if args.json:
        _print_json(report)
    else:
        _print_page(report)
    return 0


async def _read(source: "Source", symbol: str) -> dict[str, Any]:
    from app.terminal.source import SourceError

    try:
        report = await source.report(symbol)
        if report is None:
            raise SourceError(_unknown(symbol, await source.symbols()))
        return report
    finally:
        await source.close()


def _unknown(symbol: str, known: list[str]) -> str:
    if not known:
        return f"there is no report of {symbol}, nor of any other symbol: is a worker running?"
    more = f" and {len(known) - _MOST_NAMED} more" if len(known) > _MOST_NAMED else ""
    return f"there is no report of {symbol}; there are reports of {', '.join(known[:_MOST_NAMED])}{more}"


def _print_json(report: dict[str, Any]) -> None:
    import msgspec

    print(msgspec.json.encode(report).decode())


def _print_page(report: dict[str, Any]) -> None:
    from rich.console import Console

    from app.terminal.page import page

    Console().print(page(report))


def _failed(why: str, code: int) -> int:
    print(f"context8 report: {why}", file=sys.stderr)
    return code


def _symbol(text: str) -> str:
    from app.microstructure.events import SYMBOL_ALLOWED, is_symbol

    if not is_symbol(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed: {SYMBOL_ALLOWED}")
    return text
