"""The keys and channels of a store, so that systems that share a server neither meet nor hear each other.

Keys of different databases are apart by themselves. Channels are not: a server has one set of them. So a channel's
name holds the database's number, but for database 0. Systems in the same database need different prefixes.
"""

from typing import Final

import msgspec

_REPORT: Final = "report:"
_EPOCH: Final = "report:writer:token:"
_HEAVY: Final = ":heavy"
_WRITTEN: Final = ":written"
_CHANGES: Final = "report:changes"
_TRACES: Final = "report:traces"


class Keys(msgspec.Struct, frozen=True):
    """Names in one database, each behind `prefix`.

    >>> Keys().report("BTCUSDT"), Keys("test:", 3).changes
    ('report:BTCUSDT', 'test:report:changes:3')
    """

    prefix: str = ""
    database: int = 0

    def report(self, symbol: str) -> str:
        """Return where the report of `symbol` is."""
        return f"{self.prefix}{_REPORT}{symbol}"

    def heavy(self, symbol: str) -> str:
        """Return where the bulky part of a report is that is too large for one key."""
        return f"{self.prefix}{_REPORT}{symbol}{_HEAVY}"

    def written(self, symbol: str) -> str:
        """Return where the server's time is at which the report was written, in ms, and the writer's epoch."""
        return f"{self.prefix}{_REPORT}{symbol}{_WRITTEN}"

    def both(self, symbol: str) -> tuple[str, str]:
        """Return both keys that hold a report."""
        return self.report(symbol), self.heavy(symbol)

    def reading(self, symbol: str) -> tuple[str, str, str]:
        """Return the keys of a report and of when it was written."""
        return *self.both(symbol), self.written(symbol)

    def epoch(self, symbol: str) -> str:
        """Return where the newest writer epoch of `symbol` is."""
        return f"{self.prefix}{_EPOCH}{symbol}"

    @property
    def changes(self) -> str:
        """The channel on which the symbol of each report is said as it is written."""
        return self._channel(_CHANGES)

    @property
    def traces(self) -> str:
        """The channel on which is said, where traces are on, which reports contain a traced event."""
        return self._channel(_TRACES)

    def _channel(self, name: str) -> str:
        return f"{self.prefix}{name}:{self.database}" if self.database else f"{self.prefix}{name}"
