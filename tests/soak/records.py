"""What the topics hold in the end, held to what the exchange sent: own decoding, own rules.

Of a symbol's trades none is missing, and its book goes on without a break, except where the source itself was away: a
fault of producer or exchange, or between them. An event that is there twice is the same event: the producer sends again
what it does not know to be acknowledged.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from soak.judge import Violation, unix
from soak.timeline import Window

# After the source's return, until it is connected, has its snapshots, and sends: the contract's 20 s for everything up.
_UP_SEC: Final = 20.0
_BEFORE_SEC: Final = 2.0


class Record(NamedTuple):
    """A record of a topic."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None


class _Symbol:
    def __init__(self) -> None:
        self.trade: tuple[int, float] | None = None
        self.trades: set[tuple[int, str]] = set()
        self.update: tuple[int, float] | None = None
        self.highest = 0


class TopicJudge:
    """Reads records in order of their offsets, then says what was wrong."""

    def __init__(self, windows: Sequence[Window]) -> None:
        self._sources = [each for each in windows if each.rules.source]
        self._symbols: dict[str, _Symbol] = {}
        self.violations: list[Violation] = []
        self.count = self.twice = self.missing = 0

    def read(self, records: Iterable[Record]) -> None:
        """Judge the records of the events topic, of one partition after the other or mixed, offsets rising."""
        for record in records:
            try:
                event: dict[str, Any] = json.loads(record.value or b"")
                symbol = event["symbol"]
                known = self._symbols.setdefault(symbol, _Symbol())
                match event["type"]:
                    case "trade_tick":
                        self._trade(symbol, known, event)
                    case "order_book_deltas":
                        self._deltas(symbol, known, event)
            except (ValueError, KeyError, TypeError) as error:
                self._broken("events are events", str(record.key), f"{record.partition}/{record.offset}: {error!r}")

    def heard(self, claims: dict[str, tuple[int, float]]) -> None:
        """Hold the topic to the newest trade of each symbol that the exchange sent, its id and Unix time."""
        for symbol, (trade_id, at) in claims.items():
            known = self._symbols.get(symbol)
            has = known.trade if known else None
            if (has is None or has[0] < trade_id) and not self._excused(has[1] if has else 0.0, at):
                self._broken("no trade is missing", symbol, f"exchange sent {trade_id}, topic ends with {has}")

    def _trade(self, symbol: str, known: _Symbol, event: dict[str, Any]) -> None:
        trade_id, at = event["payload"]["trade_id"], unix(event["ts_event"])
        self.count += 1
        if (trade_id, event["ts_event"]) in known.trades:
            self.twice += 1
            return
        known.trades.add((trade_id, event["ts_event"]))
        if known.trade is not None and trade_id != known.trade[0] + 1:
            last, last_at = known.trade
            self.missing += max(0, trade_id - last - 1)
            if not self._excused(last_at, at):
                rule = "no trade is missing" if trade_id > last else "trade ids rise"
                self._broken(rule, symbol, f"{last} is followed by {trade_id} at {event['ts_event']}")
        known.trade = (trade_id, at)

    def _deltas(self, symbol: str, known: _Symbol, event: dict[str, Any]) -> None:
        payload, at = event["payload"], unix(event["ts_event"])
        before, known.update = known.update, (payload["final_update_id"], at)
        if before is None or before[0] == 0:
            return  # the first book, or the one after a book that was said to be not known
        follows = not payload["snapshot"] and payload["first_update_id"] == before[0] + 1
        again = payload["final_update_id"] <= known.highest and not payload["snapshot"]
        known.highest = max(known.highest, payload["final_update_id"])
        if not follows and not again and not self._excused(before[1], at):
            what = "a snapshot" if payload["snapshot"] else f"{payload['first_update_id']}"
            self._broken("books go on without a break", symbol, f"{before[0]} is followed by {what}")

    def _excused(self, began: float, ended: float) -> bool:
        return any(
            began <= each.ended.unix + _UP_SEC and ended >= each.began.unix - _BEFORE_SEC for each in self._sources
        )

    def _broken(self, rule: str, symbol: str, detail: str) -> None:
        self.violations.append(Violation(0.0, rule, symbol, detail))


def dead_letters(records: Iterable[Record]) -> list[Violation]:
    """Nobody sends what cannot be used here, so no dead letter is expected."""
    return [
        Violation(0.0, "no dead letters", str(each.key), f"{each.offset}: {(each.value or b'')[:200]!r}")
        for each in records
    ]
