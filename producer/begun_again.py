"""Numbers of the exchange that rise, trade ids and update ids: when have they begun again at small ones?

One number below the highest is a message that came late or twice. `IN_A_ROW` of them are not, none lower than the one
before and with none above the highest in between: what was delayed is followed by what overtook it. Then the exchange
counts from the beginning again, or the highest was never true. Without this rule whoever compares with the highest
number would see nothing until the numbers get there again, which may take years.

Only the order of messages decides. It is asked about low numbers alone, so it costs nothing where numbers rise.
"""

from typing import Final

IN_A_ROW: Final = 20  # as many as diffs that give a book up (`book_sync`)


class BegunAgain:
    """Counts the numbers in a row that are below the highest."""

    __slots__ = ("_highest", "_last", "_row")

    def __init__(self) -> None:
        self._highest = self._last = self._row = 0

    def note(self, number: int, highest: int) -> bool:
        """Take a number below the `highest`; return whether the numbers have begun again."""
        if highest != self._highest or number < self._last:
            self._highest, self._row = highest, 0
        self._last = number
        self._row += 1
        return self._row >= IN_A_ROW
