"""When does the recording of a symbol need a depth snapshot, and does one that came fit?

A tape can be replayed if its diffs are unbroken from a snapshot on that fits them. The rule is the live client's
own (`producer.book_sync`), in the state in which whoever replays the tape will be, so

- a snapshot is only asked for once a diff has come: before that, nobody could tell whether the two fit;
- one that does not fit, or is empty, is written all the same (it was received) and another is asked for;
- a gap, a lost connection and a new part of the recording begin anew.
"""

from producer.book_sync import BookSync, Fetch
from producer.exchange.messages import DepthSnapshot, DepthUpdate


class RecordedBook:
    """One symbol; each method says whether a snapshot is to be fetched now."""

    def __init__(self) -> None:
        self.snapshots = 0
        self.gaps = 0
        self._sync: BookSync[DepthUpdate, DepthSnapshot] = BookSync()
        self._following = False

    @property
    def known(self) -> bool:
        """Whether the tape can be replayed as of now."""
        return self._sync.update_id is not None

    def begin_anew(self) -> None:
        """The connection was lost, or a new part begins: the next diff asks for a snapshot."""
        self._sync = BookSync()
        self._following = False

    def on_diff(self, update: DepthUpdate) -> bool:
        """Take a diff that was written."""
        if not self._following:
            self._following = True
            self._sync.start()
            self._sync.on_diff(update)
            return True
        fetch = Fetch() in self._sync.on_diff(update)
        self.gaps += fetch
        return fetch

    def on_snapshot(self, snapshot: DepthSnapshot) -> bool:
        """Take a snapshot that was written."""
        if not (snapshot.bids or snapshot.asks):
            return not self.known
        self.snapshots += 1
        return Fetch() in self._sync.on_snapshot(snapshot)
