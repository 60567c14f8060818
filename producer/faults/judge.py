"""What was published of a book, held against the truth, state by state, as it comes.

A state is right if the whole book is the server's at the same update id. While the book is said to be unknown
nothing can be wrong. Times are seconds of the monotonic clock.
"""

from dataclasses import dataclass, field

from producer.exchange.book import Depth
from producer.faults.truth import TrueMarket

STREAK = 5
"""Right states in a row, all newer than the fault, after which the book counts as recovered."""


@dataclass
class SymbolVerdict:
    """What became of one symbol since `watch`.

    Attributes:
        states: published states of a known book.
        wrong_best: of these, with another best bid or ask than the server had.
        wrong: of these, with any other level.
        unknown_at: when the book was first said to be unknown, if it was.
        right_since: since when all states were right and newer than the fault.
        newest_at: when the newest state of a known book came.
        misdated: diffs published with another time than the server gave.
    """

    known: bool = False
    states: int = 0
    wrong_best: int = 0
    wrong: int = 0
    unknown_at: float | None = None
    right_since: float | None = None
    streak: int = 0
    newest_at: float = 0.0
    misdated: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def recovered(self) -> bool:
        """Whether the book is known, right and goes on."""
        return self.known and self.streak >= STREAK


class Judge:
    """Takes every published state of some symbols."""

    def __init__(self, market: TrueMarket) -> None:
        self._market = market
        self._after: dict[str, int] = {}
        self.verdicts = {symbol: SymbolVerdict() for symbol in market.symbols()}

    def watch(self) -> None:
        """Begin anew, from a fault that happens now; what is published of before it is no recovery."""
        for symbol, verdict in self.verdicts.items():
            self._after[symbol] = self._market.newest(symbol)
            self.verdicts[symbol] = SymbolVerdict(known=verdict.known)

    def unknown(self, symbol: str, now: float) -> None:
        """The book is said to be unknown."""
        verdict = self.verdicts[symbol]
        verdict.known, verdict.streak, verdict.right_since = False, 0, None
        if verdict.unknown_at is None:
            verdict.unknown_at = now

    def state(self, symbol: str, book: Depth, now: float, event_ms: int | None = None) -> None:
        """The book is said to be this; `event_ms` where the message had a time of the exchange."""
        verdict = self.verdicts[symbol]
        verdict.known, verdict.newest_at = True, now
        verdict.states += 1
        update_id = book.last_update_id
        true = self._market.truth[symbol].get(update_id)
        if true is None or book != true:
            verdict.wrong += 1
            wrong_best = true is None or book.bids[:1] != true.bids[:1] or book.asks[:1] != true.asks[:1]
            verdict.wrong_best += wrong_best
            verdict.streak, verdict.right_since = 0, None
            if len(verdict.examples) < 3:
                verdict.examples.append(f"{symbol} at {update_id}: {book.bids[:1]} {book.asks[:1]}, not {true!r:.200}")
            return
        if event_ms is not None and event_ms != self._market.event_ms[symbol].get(update_id, event_ms):
            verdict.misdated += 1
        if update_id > self._after.get(symbol, 0):
            verdict.streak += 1
            if verdict.right_since is None:
                verdict.right_since = now
