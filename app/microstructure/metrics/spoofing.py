"""Spoofing: large orders placed away from the mid and cancelled before anybody can trade with them.

cancel rate = Σ cancelled / Σ placed quantity, over the large orders of one side placed in the last `window_sec`
that are about as large as the one just cancelled (within `size_ratio`): a spoofer's orders are alike, and what others
place at the same time must not hide them. `large_orders` says what an order and a cancel are. A finding needs

- a rate of `cancel_rate`, over at least `min_placements` orders that are not routine;
- conspicuous orders: on average `mean_multiple` x what was large when they were placed;
- one side: `one_sided` x all that was cancelled on the other, for market makers renew both.

A cancel counts `requote_ms` after it happened, when it is clear that the quote did not move; that is when its side
is judged. Nothing is judged in the first `learn_sec` of a book, while routine sizes are not known. When the book is
given up or restarted, orders and sizes start over; findings made before stay for their time.
"""

from collections import deque
from collections.abc import Callable
from math import inf
from typing import Final

import msgspec

from app.microstructure.book import BookChange
from app.microstructure.events import TradeTick
from app.microstructure.metrics.large_orders import UNITS, LargeOrders
from app.microstructure.metrics.order_values import Count, OrderParams, OrdersState
from app.microstructure.report import Anomaly, Severity
from app.microstructure.rfc3339 import NANOS_PER_SECOND

LEAST_CANCEL_RATE: Final = 0.7
_NANOS_PER_MS: Final = 1_000_000


class SpoofingParams(OrderParams, frozen=True):
    """What is a finding, and how grave; docs/metrics.md gives the reasons."""

    cancel_rate: float = 0.75
    min_placements: int = 4
    one_sided: float = 2.0
    mean_multiple: float = 2.8
    learn_sec: int = 60
    hold_sec: int = 20
    medium_multiple: float = 25.0
    high_multiple: float = 80.0
    high_rate: float = 0.85

    def __post_init__(self) -> None:
        if self.cancel_rate < LEAST_CANCEL_RATE:
            raise ValueError(f"cancel_rate {self.cancel_rate} is not allowed: at least {LEAST_CANCEL_RATE}")
        if self.lifetime_sec > self.window_sec:
            raise ValueError(f"lifetime_sec {self.lifetime_sec} is not allowed: at most window_sec, {self.window_sec}")
        if self.explain_ms >= self.requote_ms:
            raise ValueError(f"explain_ms {self.explain_ms} is not allowed: less than requote_ms, {self.requote_ms}")


class Finding(msgspec.Struct, frozen=True, array_like=True):
    """Spoofing on one side, judged at `at`."""

    at: int
    severity: Severity
    note: str


class SpoofingState(msgspec.Struct, frozen=True, array_like=True):
    """Everything the detector knows; the pairs are of bid and ask."""

    now: int
    watched_since: int | None
    large: float
    dues: list[tuple[int, bool]]
    orders: tuple[OrdersState, OrdersState]
    findings: tuple[Finding | None, Finding | None]


class Spoofing:
    """Spoofing in one symbol, found from its trades and book changes.

    `large` gives the least quantity of a large order, P95 of the quantity history, or `None` while not known.
    """

    def __init__(self, large: Callable[[], float | None], params: SpoofingParams | None = None) -> None:
        self._params = params or SpoofingParams()
        self._below = 1 - self._params.min_distance_bps / 1e4
        self._above = 1 + self._params.min_distance_bps / 1e4
        self._requote = self._params.requote_ms * _NANOS_PER_MS
        self._read_large = large
        self._large = 0.0
        self._now = 0
        self._watched_since: int | None = None
        self._dues: deque[tuple[int, bool]] = deque()  # when cancels begin to count, and whether of bids
        self._bids, self._asks = LargeOrders(self._params), LargeOrders(self._params)
        self._findings: tuple[Finding | None, Finding | None] = (None, None)

    def update(self, observation: TradeTick | BookChange) -> None:
        """Take a trade, or a change of the book, into account."""
        if type(observation) is BookChange:
            self._change(observation)
        elif type(observation) is TradeTick:
            self._trade(observation)

    def value(self, as_of: int) -> tuple[Anomaly, ...]:
        """Return the findings of the last `hold_sec`, at most one a side."""
        oldest = as_of - self._params.hold_sec * NANOS_PER_SECOND
        return tuple(
            [
                Anomaly("spoofing", found.severity, found.note)
                for found in self._judged(as_of)
                if found is not None and found.at > oldest
            ]
        )

    def hold(self, at: int | None) -> None:
        """Keep the orders and sizes that count at `at`, whatever comes; `None`: no longer."""
        self._bids.held = self._asks.held = at

    def rewind(self, to: int) -> None:
        """Let what was stamped later than `to` have happened at `to`: that time was wrong."""
        self._now = min(self._now, to)
        if self._watched_since is not None:
            self._watched_since = min(self._watched_since, to)
        self._dues = deque([(min(due, to + self._requote), of_bids) for due, of_bids in self._dues])
        self._bids.rewind(to)
        self._asks.rewind(to)
        bid, ask = [found and msgspec.structs.replace(found, at=min(found.at, to)) for found in self._findings]
        self._findings = bid, ask

    def snapshot(self) -> SpoofingState:
        """Return the whole state."""
        return SpoofingState(
            self._now,
            self._watched_since,
            self._large,
            list(self._dues),
            (self._bids.pack(), self._asks.pack()),
            self._findings,
        )

    @classmethod
    def restore(
        cls, state: SpoofingState, large: Callable[[], float | None], params: SpoofingParams | None = None
    ) -> "Spoofing":
        """Return a detector that goes on exactly where `state` was taken."""
        detector = cls(large, params)
        detector._now, detector._watched_since, detector._large = state.now, state.watched_since, state.large
        detector._dues = deque(state.dues)
        bids, asks = state.orders
        detector._bids = LargeOrders.unpack(bids, detector._params)
        detector._asks = LargeOrders.unpack(asks, detector._params)
        detector._findings = state.findings
        return detector

    def _trade(self, trade: TradeTick) -> None:
        payload = trade.payload
        side = self._bids if payload.aggressor_side == "sell" else self._asks
        order = side.orders.get(payload.price)
        if order is not None:
            side.trade(order, round(payload.qty * UNITS), int(trade.ts_event))

    def _change(self, change: BookChange) -> None:
        now = self._now
        if change.ts_event > now:
            self._now = now = change.ts_event
        if self._dues and self._dues[0][0] <= now:
            self._findings = self._judged(now)
            while self._dues and self._dues[0][0] <= now:
                self._dues.popleft()
        if change.restarted or not change.known:
            self._start_over(now if change.known else None)
            return
        large = self._read_large()
        if large is None:
            large = inf
        else:
            self._large = large
        self._follow(change, large)

    def _follow(self, change: BookChange, large: float) -> None:
        """Hand on what matters; nearly all changes are small, or elsewhere: these must cost next to nothing."""
        bid, ask = change.best_bid, change.best_ask
        mid = (bid + ask) / 2 if bid is not None and ask is not None else None
        far = mid * self._below if mid is not None else 0.0
        orders = self._bids.orders
        bid_changes = [
            each  # not unpacked: of nearly all, two items are looked at
            for each in change.bids
            if (each[2] >= large and each[0] <= far and each[2] - each[1] >= large) or each[0] in orders
        ]
        far = mid * self._above if mid is not None else inf
        orders = self._asks.orders
        ask_changes = [
            each
            for each in change.asks
            if (each[2] >= large and each[0] >= far and each[2] - each[1] >= large) or each[0] in orders
        ]
        now, due = self._now, self._now + self._requote
        if bid_changes and self._bids.change(bid_changes, now, large, bid, mid):
            self._dues.append((due, True))
        if ask_changes and self._asks.change(ask_changes, now, large, ask, mid):
            self._dues.append((due, False))

    def _start_over(self, watched_since: int | None) -> None:
        self._watched_since = watched_since
        self._dues.clear()
        self._bids.start_over()
        self._asks.start_over()

    def _judged(self, until: int) -> tuple[Finding | None, Finding | None]:
        """Return the newest findings at `until`: each cancel that counts by then is judged in its turn."""
        bid, ask = self._findings
        for at, of_bids in self._dues:
            if at > until:
                break
            if of_bids:
                bid = self._judge("bid", self._bids, self._asks, at) or bid
            else:
                ask = self._judge("ask", self._asks, self._bids, at) or ask
        return bid, ask

    def _judge(self, name: str, side: LargeOrders, other: LargeOrders, at: int) -> Finding | None:
        params = self._params
        if self._watched_since is None or at < self._watched_since + params.learn_sec * NANOS_PER_SECOND:
            return None
        found = [burst for burst in side.bursts(at, self._large) if self._suspicious(burst)]
        if not found or found[0].cancelled < params.one_sided * other.count(at, self._large).cancelled:
            return None
        return self._finding(name, found[0], at)

    def _suspicious(self, burst: Count) -> bool:
        params = self._params
        return (
            burst.placements >= params.min_placements
            and burst.cancelled >= params.cancel_rate * burst.placed
            and burst.placed >= params.mean_multiple * burst.usual
        )

    def _finding(self, name: str, burst: Count, at: int) -> Finding:
        nearest, farthest = min(burst.distances_bps), max(burst.distances_bps)
        rate, multiple = burst.cancelled / burst.placed, burst.cancelled * burst.placements / burst.usual
        note = (
            f"{name}: {burst.placements} large orders placed {nearest:.0f}-{farthest:.0f} bps from mid, "
            f"{rate * 100:.0f} % cancelled within {self._params.lifetime_sec} s ({multiple:.0f} x the large size)"
        )
        return Finding(at, self._severity(rate, multiple), note)

    def _severity(self, rate: float, multiple: float) -> Severity:
        params = self._params
        if multiple >= params.high_multiple and rate >= params.high_rate:
            return "high"
        return "medium" if multiple >= params.medium_multiple else "low"
