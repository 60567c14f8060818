"""Which events get a place in the queue to Kafka when places run out.

| kind                | there is room      | the queue is full                                           |
|---------------------|--------------------|-------------------------------------------------------------|
| trade               | a place            | a place for which a book goes; none only if no book is left |
| diff                | a place            | its symbol's book is lost                                   |
| snapshot            | a place            | its symbol's book is lost, still or again                   |
| top 20, 24 h ticker | a place            | none; the next one says the same and more                   |

A book whose diff was turned away is worth nothing from there on, so the symbol is *lost*: what waits of its
book is thrown away, and more is turned away, until a snapshot, which needs no past, brings it back. Once half
of the queue is free again, each lost symbol is named once, for its book to be fetched anew; the client then
announces at once that the book is not known, and that announcement is such a snapshot.

This is the whole policy. It sees counts and kinds, and neither events nor Kafka.
"""

from collections.abc import Set
from typing import Final

from producer.wire import Kind

BOOK_KINDS: Final = frozenset({Kind.DIFF, Kind.SNAPSHOT, Kind.DEPTH})


class Admission:
    """Decides for one queue of `limit` places."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lost: set[str] = set()
        self._named: set[str] = set()

    @property
    def lost(self) -> Set[str]:
        """Symbols whose book is broken off in the queue; asked for with each event, so it is no copy."""
        return self._lost

    def admits(self, symbol: str, kind: Kind, waiting: int) -> bool:
        """Return whether an event gets a place while `waiting` others have one."""
        if kind in (Kind.DIFF, Kind.DEPTH) and symbol in self._lost:
            return False
        if waiting >= self._limit:
            if kind in (Kind.DIFF, Kind.SNAPSHOT):
                self.lose(symbol)
            return False
        if kind is Kind.SNAPSHOT:
            self._lost.discard(symbol)
        return True

    def lose(self, symbol: str) -> None:
        """Break the symbol's book off."""
        self._lost.add(symbol)
        self._named.discard(symbol)

    def recovered(self, waiting: int) -> set[str]:
        """Return lost symbols that there is room for now; each is returned once."""
        if waiting > self._limit // 2:
            return set()
        fresh = self._lost - self._named
        self._named |= fresh
        return fresh
