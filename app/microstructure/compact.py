"""A state split for storage: a small head that is written every time, and parts that are written once.

Most of a state does not change from one snapshot to the next. What never changes again leaves as a part, which
a store need write only once for as long as later heads ask for it:

- a closed chunk of the quantity history;
- a closed bucket of the volume profile;
- the book of some moment, the *base*. The head then tells only the levels that are different now. Once these
  are many, the book of today becomes the next base.

Measured on the recorded tape: docs/performance.md.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from app.microstructure.engine import EngineState, StateError, check_version

_NEW_BASE_SHARE = 0.25


class Compact(NamedTuple):
    """A state in pieces; a part that did not change is the same bytes as last time."""

    head: bytes
    parts: list[bytes]


class _Head(msgspec.Struct, frozen=True, array_like=True):
    """`state` with empty bytes where parts belong, and how the book differs from its base."""

    state: EngineState
    bids: bytes
    asks: bytes


_encode_head = msgspec.msgpack.Encoder().encode
_decode_head = msgspec.msgpack.Decoder(_Head).decode


class Compactor:
    """Splits the states of one engine, in the order of time."""

    def __init__(self) -> None:
        self._bids = self._asks = b""

    def split(self, state: EngineState) -> Compact:
        """Return `state` in pieces; `join` puts them together."""
        book, profile = state.book, state.profile
        bids, asks = difference(self._bids, book.bids), difference(self._asks, book.asks)
        if len(bids) + len(asks) > _NEW_BASE_SHARE * (len(book.bids) + len(book.asks)):
            self._bids, self._asks, bids, asks = book.bids, book.asks, b"", b""
        closed = profile.buckets[:-1]
        parts = [self._bids, self._asks, *state.history.closed, *(bucket.bins for bucket in closed)]
        rest = replace(
            state,
            book=replace(book, bids=b"", asks=b""),
            history=replace(state.history, closed=[b""] * len(state.history.closed)),
            profile=replace(profile, buckets=[replace(b, bins=b"") for b in closed] + profile.buckets[-1:]),
        )
        return Compact(_encode_head(_Head(rest, bids, asks)), parts)


def join(head: bytes, parts: Sequence[bytes]) -> EngineState:
    """Return the state that was split into `head` and `parts`.

    Raises:
        StateError: they are damaged, do not belong together or are of another version.
    """
    try:
        pieces = _decode_head(head)
        state = check_version(pieces.state)
        chunks, closed = len(state.history.closed), state.profile.buckets[:-1]
        bids, asks, *rest = parts
        return replace(
            state,
            book=replace(state.book, bids=patched(bids, pieces.bids), asks=patched(asks, pieces.asks)),
            history=replace(state.history, closed=rest[:chunks]),
            profile=replace(
                state.profile,
                buckets=[replace(bucket, bins=bins) for bucket, bins in zip(closed, rest[chunks:], strict=True)]
                + state.profile.buckets[-1:],
            ),
        )
    except StateError:
        raise
    except ValueError as error:
        raise StateError(f"snapshot cannot be put together: {error}") from None


def difference(base: bytes, now: bytes) -> bytes:
    """Return the levels of book side `now` that `base` does not have so, and with quantity 0 those that went."""
    prices, quantities = _side(now)
    base_prices, base_quantities = _side(base)
    fresh = quantities != _looked_up(prices, base_prices, base_quantities)
    gone = _looked_up(base_prices, prices, quantities) == 0
    return np.concatenate(
        (prices[fresh], base_prices[gone], quantities[fresh], np.zeros(np.count_nonzero(gone)))
    ).tobytes()


def patched(base: bytes, changes: bytes) -> bytes:
    """Return the book side that `difference` compared with `base`."""
    prices, quantities = _side(base)
    new_prices, new_quantities = _side(changes)
    untouched = ~np.isin(prices, new_prices)
    there = new_quantities != 0
    prices = np.concatenate((prices[untouched], new_prices[there]))
    quantities = np.concatenate((quantities[untouched], new_quantities[there]))
    order = np.argsort(prices)
    return np.concatenate((prices[order], quantities[order])).tobytes()


def _side(packed: bytes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    numbers = np.frombuffer(packed)
    if len(numbers) % 2:
        raise StateError("a side of the book has more prices than quantities, or fewer")
    return numbers[: len(numbers) // 2], numbers[len(numbers) // 2 :]


def _looked_up(
    wanted: NDArray[np.float64], prices: NDArray[np.float64], quantities: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the quantity at each of the `wanted` prices, 0 where there is none; `prices` rise."""
    if not len(prices):
        return np.zeros(len(wanted))
    places = np.minimum(np.searchsorted(prices, wanted), len(prices) - 1)
    found: NDArray[np.float64] = np.where(prices[places] == wanted, quantities[places], 0.0)
    return found
