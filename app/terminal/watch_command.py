"""`context8 watch`: the table of the demo, kept up to date, against any Redis or any reader.

Below it stands who took symbols over from whom while it ran, and for how long they had no report.
"""

import argparse
import asyncio
import sys
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

from app.arguments import seconds
from app.terminal.source import Source
from app.terminal.takeovers import Takeovers

HELP: Final = "watch the reports of all symbols, or of some"
_LOOK_SEC: Final = 0.1  # below the fast cycle, so that the last report before a takeover is seen
_LIST_SEC: Final = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    from app.terminal.source import add_source_arguments

    parser.add_argument("symbols", nargs="*", type=_symbol, metavar="SYMBOL", help="which ones (default: all)")
    parser.add_argument("--seconds", type=seconds(0.1), metavar="N", help="end by itself; without, Ctrl-C ends it")
    add_source_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Watch; return 0 if there was a report at the end, 1 if not, 2 for a setting that is not allowed."""
    from rich.console import Console

    from app.settings import SettingsError
    from app.terminal.source import SourceError, open_source

    try:
        watch = Watch(open_source(args), tuple(args.symbols), Console())
    except SettingsError as error:
        print(f"context8 watch: {error}", file=sys.stderr)
        return 2
    except SourceError as error:
        print(f"context8 watch: {error}", file=sys.stderr)
        return 1
    asyncio.run(watch.run(args.seconds))
    if watch.trouble:
        print(f"context8 watch: {watch.trouble}", file=sys.stderr)
    return 1 if watch.trouble else 0


class Watch:
    """Looks at the reports ten times a second; `trouble` says why there are none now, `None` if there are."""

    def __init__(self, source: "Source", symbols: tuple[str, ...], console: "Console") -> None:
        self.trouble: str | None = None
        self._source = source
        self._wanted = symbols
        self._names = list(symbols)
        self._list_again = 0.0
        self._reports: dict[str, dict[str, Any] | None] = {}
        self._takeovers = Takeovers()
        self._console = console
        self._told: str | None = None

    async def run(self, seconds: float | None) -> None:
        """Show the table for `seconds`, for ever if `None`; what goes away is told and waited for."""
        from rich.live import Live

        deadline = None if seconds is None else time.monotonic() + seconds
        try:
            await self.look()
            with Live(console=self._console, refresh_per_second=4, get_renderable=self.table):
                while deadline is None or time.monotonic() < deadline:
                    if deadline is None:
                        self._tell()
                    await asyncio.sleep(_LOOK_SEC)
                    await self.look()
        finally:
            await self._source.close()

    async def look(self) -> None:
        """Read every report anew."""
        from app.terminal.source import SourceError

        try:
            if not self._wanted and time.monotonic() >= self._list_again:
                self._names = await self._source.symbols()
                self._list_again = time.monotonic() + _LIST_SEC
            self._reports = await self._source.reports(self._names)
        except SourceError as error:
            self.trouble = str(error)
            return
        self._takeovers.note(self._reports)
        missing = [name for name, report in self._reports.items() if report is None]
        self.trouble = f"there is no report of {', '.join(missing)}" if missing else None
        if not self._reports:
            self.trouble = "there is no report of any symbol: is a worker running?"

    def _tell(self) -> None:
        """Say what the matter is where the table comes at the end only: in a file or a pipe."""
        if self.trouble != self._told and not self._console.is_terminal:
            print(f"context8 watch: {self.trouble or 'there are reports again'}", file=sys.stderr, flush=True)
        self._told = self.trouble

    def table(self) -> "RenderableType":
        """Return what is shown now."""
        from rich.console import Group
        from rich.text import Text

        from app.stack.board import Seen, live_table

        parts: list[RenderableType] = [live_table({name: Seen(report) for name, report in self._reports.items()})]
        parts += [Text(line) for line in self._takeovers.lines()]
        if self.trouble:
            parts.append(Text(f"{self.trouble}; trying again", "red"))
        return Group(*parts)


def _symbol(text: str) -> str:
    from app.microstructure.events import SYMBOL_ALLOWED, is_symbol

    if not is_symbol(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed: {SYMBOL_ALLOWED}")
    return text
