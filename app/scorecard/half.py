"""One side of the venue's book: the levels of the base market, orders of ours, and what is shown of both.

shown(price) = resized(base − eaten − withdrawn) + own, where `eaten` is what our own takers bought away and nobody has
put back, `withdrawn` what makers of large orders took away for good, and a `Resize` thins or thickens the levels down
to some price. Base levels that our orders
would cross, and those better than `limit`, are not shown: their owners would have traded with us, or have withdrawn.
"""

import random
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from app.microstructure.events import Level
from producer.exchange.book import Side

DECIMALS: Final = 8
_RESERVE: Final = 50
_MISSING: Final = (-0.5, 0.8)  # share of a level that is missing after others have filled it up


class Resize(msgspec.Struct, frozen=True):
    """Base levels at `furthest` and better prices times `scale`; large ones count as `large`, and never grow."""

    furthest: float
    scale: float
    large: float

    def factor(self, qty: float) -> float:
        """Return what a level of this quantity is multiplied by."""
        if self.scale > 1:
            return min(self.scale, max(1.0, self.large / qty)) if qty else self.scale
        return self.scale * min(1.0, self.large / qty) if qty else self.scale


class Half:
    """One `side`; `sign` is 1 for bids and -1 for asks, so that a better price has the greater `sign · price`.

    Attributes:
        limit: no base level better than this is shown; `None` shows all.
        resize: what makers have made of their levels; `None` leaves them alone.
    """

    def __init__(self, side: Side, levels: Iterable[Level], step: float) -> None:
        self.side: Final = side
        self.sign: Final = 1.0 if side is Side.BID else -1.0
        self.limit: float | None = None
        self.resize: Resize | None = None
        self._step = step
        self._base = {price: qty for price, qty in levels if qty}
        self._eaten: dict[float, float] = {}
        self._to_restock: set[float] = set()
        self._withdrawn: dict[float, float] = {}
        self._kept: set[float] = set()
        self._keep_from: float | None = None
        self._own: dict[float, float] = {}
        self._shown = dict(self._base)
        self._resized: Resize | None = None
        self._touched: set[float] = set()
        self._bound: float | None = None
        self._opposite_own: float | None = None

    def shown(self, price: float) -> float:
        """Return the quantity published at `price`."""
        return self._shown.get(price, 0.0)

    def own(self, price: float) -> float:
        """Return what is left of our order at `price`."""
        return self._own.get(price, 0.0)

    def own_prices(self) -> list[float]:
        """Return where we have orders, best first."""
        return sorted(self._own, key=lambda price: -self.sign * price)

    def best_own(self) -> float | None:
        """Return our best price."""
        return max(self._own, key=lambda price: self.sign * price, default=None)

    def base_touch(self) -> float:
        """Return the base market's own best price."""
        return max(self._base, key=lambda price: self.sign * price)

    def reserve(self) -> float:
        """Return the best of the base market's last 50 prices: no injection may take these."""
        prices = sorted(self._base, key=lambda price: -self.sign * price)
        return prices[max(0, len(prices) - _RESERVE)]

    def put(self, price: float, qty: float) -> None:
        """Make our order at `price` this large; 0 takes it back."""
        if qty > 0:
            self._own[price] = self._rounded(qty)
        else:
            self._own.pop(price, None)
        self._touched.add(price)

    def take(self, price: float, qty: float) -> None:
        """Trade `qty` away at `price`: of our order first, then of the base market's."""
        own = self._own.get(price, 0.0)
        if own:
            self.put(price, own - min(own, qty))
        rest = qty - min(own, qty)
        if rest > 0:
            self._eaten[price] = self._eaten.get(price, 0.0) + rest / (self.factor(price) or 1.0)
            self._to_restock.add(price)
        self._touched.add(price)

    def restock(self, rng: random.Random | None = None) -> None:
        """Let the base market put back what was eaten: exactly, or once, as others would, to a size of their own."""
        self._touched |= self._eaten.keys()
        if rng is None:
            self._eaten.clear()
        else:
            for price in sorted(self._to_restock & self._eaten.keys()):
                self._eaten[price] = self._base.get(price, 0.0) * rng.uniform(*_MISSING)
        self._to_restock.clear()

    def let_go(self, most: float) -> None:
        """Show the base market's levels again; of one that has been hidden or cut down, at most `most` comes back.

        Else large orders would appear all at once that nobody placed, and the base market would cancel them.
        """
        self.limit = self.resize = None
        self.keep(None)
        self.restock()
        for price, base in self._base.items():
            missing = base - self._withdrawn.get(price, 0.0) - self.shown(price)
            if missing > most:
                self._withdrawn[price] = base - self.shown(price) - most

    def keep(self, large: float | None) -> None:
        """Go on showing base levels of at least `large` that a limit would hide from now on; `None` hides them all."""
        if large is None:
            self._touched |= self._kept
            self._kept.clear()
        self._keep_from = large

    def is_better(self, price: float, than: float) -> bool:
        """Return whether `price` is strictly nearer to the other side."""
        return self.sign * price > self.sign * than

    def hides(self, price: float) -> bool:
        """Return whether a base level at `price` is not shown."""
        if self._bound is not None and not self.is_better(self._bound, price):
            crossing = self._opposite_own is not None and not self.is_better(self._opposite_own, price)
            if crossing or price not in self._kept:
                return True
        return price in self._eaten and self._eaten[price] >= self._rest(price)

    def factor(self, price: float) -> float:
        """Return what the base level at `price` is multiplied by."""
        resize = self.resize
        if resize is None or self.is_better(resize.furthest, price):
            return 1.0
        return resize.factor(self._base.get(price, 0.0))

    def keep_clear_of(self, opposite_own: float | None) -> None:
        """Tell this side our best order on the other."""
        self._opposite_own = opposite_own

    def changes(self, base: Sequence[Level]) -> list[Level]:
        """Take the base market's changes, and return what to publish."""
        for price, qty in base:
            if qty:
                self._base[price] = qty
            else:
                self._base.pop(price, None)
                self._eaten.pop(price, None)
                self._withdrawn.pop(price, None)
                self._kept.discard(price)
        self._move_bound()
        if self.resize != self._resized:
            self._touched.update(self._base)
            self._resized = self.resize
        # What the base market repeats is repeated; what else has not changed is not.
        told = [price for price, _ in base]
        others = sorted(self._touched.difference(told))
        self._touched.clear()
        return [(price, self._show(price)) for price in told] + [
            (price, self._show(price)) for price in others if self._target(price) != self.shown(price)
        ]

    def _show(self, price: float) -> float:
        qty = self._target(price)
        if qty:
            self._shown[price] = qty
        else:
            self._shown.pop(price, None)
        return qty

    def _target(self, price: float) -> float:
        own = self._own.get(price, 0.0)
        base = 0.0 if self.hides(price) else self._rest(price)
        if not base:
            return own
        left = max(0.0, base - self._eaten.get(price, 0.0))
        return self._rounded(left * self.factor(price) + own)

    def _rest(self, price: float) -> float:
        """Return what the base market has at `price`, but for what was withdrawn for good."""
        return max(0.0, self._base.get(price, 0.0) - self._withdrawn.get(price, 0.0))

    def _move_bound(self) -> None:
        """The bound is the price at which, and beyond which, base levels are hidden."""
        candidates = [price for price in (self._behind_limit(), self._opposite_own) if price is not None]
        bound = min(candidates, key=lambda price: self.sign * price, default=None)
        if bound == self._bound:
            return
        for old in (bound, self._bound):
            if old is not None:
                self._touched.update(price for price in self._base if not self.is_better(old, price))
        if self._keep_from is not None:
            least = self._keep_from
            self._kept.update(p for p in self._touched & self._base.keys() if self.shown(p) - self.own(p) >= least)
        self._bound = bound

    def _behind_limit(self) -> float | None:
        return None if self.limit is None else round(self.limit + self.sign * 10**-DECIMALS, DECIMALS)

    def _rounded(self, qty: float) -> float:
        return round(round(qty / self._step) * self._step, DECIMALS)
