"""Quantity history: what is a large and what is a small level quantity in this market.

The samples are the last 10,000 non-zero level quantities seen: every `qty_after` > 0 of every book change, bids
before asks, in the order of the stream. P95 and P10 interpolate linearly between the two nearest samples: numpy's
default, definition 7 of Hyndman and Fan ("Sample Quantiles in Statistical Packages", 1996). They are not known
below 100 samples. A book that is given up or replaced takes nothing away: a large order stays a large order.

Samples are kept in chunks of 500. A closed chunk never changes, so a snapshot hands it out as it is, and a
store may write each chunk once. No percentile sorts: two samples are selected by `ndarray.partition`.
"""

from array import array
from collections import deque
from math import floor
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.microstructure.book import BookChange

LAST: Final = 10_000
MIN_SAMPLES: Final = 100
CHUNK: Final = 500  # divides LAST, so that 20 closed chunks are a whole history


class QuantityState(msgspec.Struct, frozen=True, array_like=True):
    """Samples as packed doubles: `closed` chunks of 500 each, oldest first, then the `open` one.

    `first` is the number of the oldest closed chunk since the beginning: chunk n is always the same 500 samples.
    """

    first: int
    closed: list[bytes]
    open: bytes


class QuantityHistory:
    """The last level quantities and their percentiles.

    >>> history = QuantityHistory()
    >>> asks = [(100.0 + qty, 0.0, float(qty)) for qty in range(1, 102)]
    >>> history.update(BookChange(0, True, True, None, 101.0, [], asks))
    >>> history.percentiles()
    (96.0, 11.0)
    """

    def __init__(self) -> None:
        self._first = 0
        self._closed: deque[bytes] = deque(maxlen=LAST // CHUNK)
        self._open: list[float] = []
        self._large: float | None = None

    def __len__(self) -> int:
        """Return how many samples count."""
        return min(LAST, len(self._closed) * CHUNK + len(self._open))

    def update(self, change: BookChange) -> None:
        """Take the quantities that `change` left behind."""
        samples = self._open
        samples += [qty for _, _, qty in change.bids if qty]
        samples += [qty for _, _, qty in change.asks if qty]
        if len(samples) >= CHUNK:
            self._close()

    def percentiles(self) -> tuple[float, float] | None:
        """Return P95 and P10 of the last samples; `None` below 100 of them."""
        if len(self) < MIN_SAMPLES:
            return None
        samples = self._samples()
        return _percentile(samples, 0.95), _percentile(samples, 0.10)

    def large(self) -> float | None:
        """Return the P95 of the closed chunks; `None` before the first is closed.

        It moves once in 500 samples, whoever asks and whenever, and costs nothing to ask: what detectors compare
        each single order with.
        """
        return self._large

    def snapshot(self) -> QuantityState:
        """Return the samples."""
        return QuantityState(self._first, list(self._closed), array("d", self._open).tobytes())

    @classmethod
    def restore(cls, state: QuantityState) -> "QuantityHistory":
        """Return a history that goes on where `state` was taken."""
        history = cls()
        history._first = state.first
        history._closed.extend(state.closed)
        history._open = np.frombuffer(state.open).tolist()
        history._refresh()
        return history

    def _close(self) -> None:
        """Pack all whole chunks; one event can fill many."""
        whole = len(self._open) // CHUNK * CHUNK
        packed = array("d", self._open[:whole]).tobytes()
        del self._open[:whole]
        size = CHUNK * 8
        chunks = [packed[at : at + size] for at in range(0, len(packed), size)]
        self._first += max(0, len(self._closed) + len(chunks) - LAST // CHUNK)
        self._closed.extend(chunks)
        self._refresh()

    def _refresh(self) -> None:
        if self._closed:
            self._large = _percentile(np.frombuffer(bytearray().join(self._closed)), 0.95)

    def _samples(self) -> NDArray[np.float64]:
        """Return a copy of the samples that count."""
        closed = np.frombuffer(b"".join(self._closed))
        return np.concatenate((closed, self._open))[-LAST:]


def _percentile(samples: NDArray[np.float64], share: float) -> float:
    """Return what `numpy.percentile(samples, 100 * share)` does, to the last bit; reorders `samples`.

    numpy's own asks `partition` for two samples at once, which takes it five times as long as selecting one and
    then looking for the least above it.
    """
    place = (len(samples) - 1) * share
    below = floor(place)
    samples.partition(below)
    low, rest = float(samples[below]), samples[below + 1 :]
    high = float(rest.min()) if len(rest) else low
    part = place - below
    # Two forms, as in numpy: each is exact at its own end.
    return low + (high - low) * part if part < 0.5 else high - (high - low) * (1 - part)
