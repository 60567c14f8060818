"""Volume profile: at which prices the volume of the window changed hands.

Trades fall into buckets of 10 s of event time, and inside a bucket into fine price bins, so that what is kept does
not grow with the number of trades. A bucket counts while any instant of it lies in (as_of - window, as_of]: the
profile reaches up to 10 s further back than the window. A late trade goes to the bucket of its own time.

The value merges the fine bins of the live buckets into bins that are centred on multiples of one round width. It
follows from the highest live price and is 0.4 to 2 basis points of it (see `bin_width`):

- POC (point of control): centre of the bin with the most volume;
- value area: grows from the POC's bin by whichever next bin with volume, above or below, has more, until it
  holds at least 70 % of all volume; VAL and VAH are its outer edges. Ties go to the lower price.

(Steidlmayer and Koy, "Markets and Market Logic", 1986; Dalton, Jones and Dalton, "Mind over Markets", 1990.)

Prices and quantities are whole 10⁻⁸ units: bins have exact edges, sums do not depend on their order. All but the
newest bucket are packed bytes that never change unless a trade comes late: small, and ready for a snapshot.
"""

from bisect import bisect_left
from typing import Final

import msgspec

from app.microstructure import report
from app.microstructure.events import TradeTick
from app.microstructure.rfc3339 import NANOS_PER_SECOND

BUCKET_NANOS: Final = 10 * NANOS_PER_SECOND
_UNITS: Final = 100_000_000

Bins = dict[int, int]
"""Volume by lower edge of the fine bin, both in 10⁻⁸ units."""

# JSON, because volumes in units outgrow the 64 bits of MessagePack where a token costs next to nothing.
_pack: Final = msgspec.json.Encoder().encode
_unpack: Final = msgspec.json.Decoder(Bins).decode


class ProfileParams(msgspec.Struct, frozen=True):
    """Window in seconds, share of the value area in per cent, and fewest trades that make a profile."""

    window_sec: int = 1800
    value_area_pct: int = 70
    min_trades: int = 100


class Bucket(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Trades of 10 s: `number` counts buckets since the epoch, `bins` is the JSON of `Bins`."""

    number: int
    trades: int
    bins: bytes


class ProfileState(msgspec.Struct, frozen=True, array_like=True):
    """Buckets that can still count, oldest first; the last one is open."""

    buckets: list[Bucket]


class VolumeProfile:
    """Volume by price over a window of event time."""

    def __init__(self, params: ProfileParams) -> None:
        self._params = params
        self._window = params.window_sec * NANOS_PER_SECOND
        self._closed: list[Bucket] = []
        self._number = -1  # of the open bucket
        self._trades = 0
        self._bins: Bins = {}
        self._total: Bins = {}  # over the closed buckets
        self._low = self._high = 0  # prices in units between which `_fine` is the width of a fine bin
        self._fine = 1
        self._held: int | None = None

    def update(self, trade: TradeTick) -> None:
        """Count a trade. Whoever calls has dropped duplicates."""
        payload = trade.payload
        # At least one unit each: a bin without price or volume could be neither reported nor taken away.
        price, volume = round(payload.price * _UNITS) or 1, round(payload.qty * _UNITS) or 1
        if not self._low <= price < self._high:
            self._high = 10 ** len(str(price))
            self._low = self._high // 10
            self._fine = fine_width(price)
        edge = price - price % self._fine
        number = trade.ts_event // BUCKET_NANOS
        if number != self._number:
            if number < self._number:
                self._add_late(number, edge, volume)
                return
            self._open(number)
        self._trades += 1
        self._bins[edge] = self._bins.get(edge, 0) + volume

    def value(self, as_of: int) -> report.VolumeProfile | None:
        """Return the profile at `as_of` (ns); `None` while fewer than `min_trades` trades count."""
        first = self._first_live(as_of)
        expired = self._closed[: bisect_left(self._closed, first, key=_number)]
        trades = self._trades + sum(bucket.trades for bucket in self._closed[len(expired) :])
        if self._number < first or trades < self._params.min_trades:
            return None
        fine = self._total.copy()
        for bucket in expired:
            _take_away(fine, bucket)
        _add(fine, self._bins)
        width = bin_width(max(fine))
        bins: Bins = {}
        for edge, volume in fine.items():
            place = (2 * edge + width) // (2 * width)
            bins[place] = bins.get(place, 0) + volume
        if 0 in bins:  # prices so far apart that the lower ones have no bin of their own
            return None
        low, poc, high = value_area(bins, self._params.value_area_pct)
        return report.VolumeProfile(
            POC=poc * width / _UNITS,
            VAH=(2 * high + 1) * width / (2 * _UNITS),
            VAL=(2 * low - 1) * width / (2 * _UNITS),
            window_sec=self._params.window_sec,
            trade_count=trades,
        )

    def hold(self, at: int | None) -> None:
        """Keep all that a window ending at `at` needs, whatever comes; `None`: no longer."""
        self._held = at

    def rewind(self, to: int) -> None:
        """Count what was stamped later than `to` at `to`: that time was wrong, and it has happened by now."""
        number = to // BUCKET_NANOS
        if self._number <= number:
            return
        first = bisect_left(self._closed, number, key=_number)
        for bucket in self._closed[first:]:
            self._trades += bucket.trades
            _add(self._bins, _unpack(bucket.bins))
            _take_away(self._total, bucket)
        del self._closed[first:]
        self._number = number

    def snapshot(self) -> ProfileState:
        """Return the buckets that can still count."""
        if self._number < 0:
            return ProfileState([])
        return ProfileState([*self._closed, self._packed()])

    @classmethod
    def restore(cls, state: ProfileState, params: ProfileParams) -> "VolumeProfile":
        """Return a profile that goes on where `state` was taken."""
        profile = cls(params)
        if state.buckets:
            *profile._closed, newest = state.buckets
            profile._number, profile._trades, profile._bins = newest.number, newest.trades, _unpack(newest.bins)
            for bucket in profile._closed:
                _add(profile._total, _unpack(bucket.bins))
        return profile

    def _first_live(self, as_of: int) -> int:
        """Return the number of the oldest bucket whose last instant is within the window."""
        return (as_of - self._window + 1) // BUCKET_NANOS

    def _first_kept(self, newest: int) -> int:
        """Return the number of the oldest bucket that a window may still need once `newest` is open."""
        time = newest * BUCKET_NANOS
        return self._first_live(time if self._held is None else min(time, self._held))

    def _open(self, number: int) -> None:
        """Close the open bucket, start the one of `number` and forget those that can never count again."""
        if self._number >= 0:
            self._closed.append(self._packed())
            _add(self._total, self._bins)
        self._number, self._trades, self._bins = number, 0, {}
        first = self._first_kept(number)
        gone = bisect_left(self._closed, first, key=_number)
        for bucket in self._closed[:gone]:
            _take_away(self._total, bucket)
        del self._closed[:gone]

    def _add_late(self, number: int, edge: int, volume: int) -> None:
        if number < self._first_kept(self._number):
            return
        at = bisect_left(self._closed, number, key=_number)
        trades, bins = 0, Bins()
        if at < len(self._closed) and self._closed[at].number == number:
            old = self._closed.pop(at)
            trades, bins = old.trades, _unpack(old.bins)
        _add(bins, {edge: volume})
        _add(self._total, {edge: volume})
        self._closed.insert(at, Bucket(number, trades + 1, _pack(bins)))

    def _packed(self) -> Bucket:
        return Bucket(self._number, self._trades, _pack(self._bins))


def fine_width(price: int) -> int:
    """Return the width of the bins in which volume is kept, for a price in units: five digits of the price."""
    width: int = 10 ** max(0, len(str(price)) - 5)
    return width


def bin_width(price: int) -> int:
    """Return the width of a profile's bins for its highest price, both in 10⁻⁸ units, the venue's finest tick.

    | price starts with | width in units      | of the price |
    |-------------------|---------------------|--------------|
    | 1 to 4.9999       | 2 · 10^(digits - 5) | 0.4 - 2 bps  |
    | 5 to 9.9999       | 10^(digits - 4)     | 1 - 2 bps    |
    | below 10⁻⁴        | 1                   | one tick     |

    Half of a width is a multiple of every fine width up to that price, so its edges cut no fine bin in two. A
    tick is a power of ten: where it is not below the width it is a multiple of it, so that each traded price is
    the centre of a bin of its own.

    >>> bin_width(61_737 * 10**8) / 10**8, bin_width(10**8) / 10**8, bin_width(780)
    (10.0, 0.0002, 1)
    """
    if price < 10_000:
        return 1
    fine = fine_width(price)
    return 2 * fine if price < 50_000 * fine else 10 * fine


def value_area(bins: Bins, percent: int) -> tuple[int, int, int]:
    """Return the lowest, the fullest and the highest place of the value area.

    >>> value_area({1: 5, 2: 30, 3: 40, 5: 20, 9: 5}, 70)
    (2, 3, 3)
    """
    places = sorted(bins)
    volumes = [bins[place] for place in places]
    low = poc = high = volumes.index(max(volumes))
    inside, total = volumes[poc], sum(volumes)
    while 100 * inside < percent * total:
        below = volumes[low - 1] if low > 0 else -1
        above = volumes[high + 1] if high + 1 < len(volumes) else -1
        if below >= above:
            low -= 1
        else:
            high += 1
        inside += max(below, above)
    return places[low], places[poc], places[high]


def _number(bucket: Bucket) -> int:
    return bucket.number


def _add(total: Bins, bins: Bins) -> None:
    for edge, volume in bins.items():
        total[edge] = total.get(edge, 0) + volume


def _take_away(total: Bins, bucket: Bucket) -> None:
    for edge, volume in _unpack(bucket.bins).items():
        left = total[edge] - volume
        if left:
            total[edge] = left
        else:
            del total[edge]
