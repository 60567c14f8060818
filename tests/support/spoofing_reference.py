"""The definition of spoofing, slow and obvious: an oracle for the detector."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.microstructure.book import BookChange
from app.microstructure.events import TradeTick
from app.microstructure.metrics.large_orders import UNITS
from app.microstructure.metrics.spoofing import SpoofingParams
from app.microstructure.report import Anomaly
from support.book_feed import Observation
from support.markets import SECOND
from support.spoofing import MS


@dataclass
class Placed:
    """One order of the reference; `ended` once it was moved away or its price was taken by another."""

    price: float
    distance: float
    at: int
    units: int
    left: int
    group: "Group"
    count: int
    usual: int
    cancelled: int = 0
    fell_at: int = -SECOND
    last_cancel: int = 0
    traded: int = 0
    traded_at: int = -SECOND
    ended: bool = False
    moved: bool = False


@dataclass
class Group:
    """Uses of one size."""

    units: int
    at: int
    seen: int = 0
    together: int = 0


class Reference:
    """The definition, over the whole history, which is gone through again for every value; nothing is forgotten."""

    def __init__(self, large: Sequence[float | None], params: SpoofingParams) -> None:
        self.large, self.params = large, params
        self.history: list[Observation] = []

    def update(self, observation: Observation) -> None:
        self.history.append(observation)

    def value(self, as_of: int) -> tuple[Anomaly, ...]:
        self.start_over(None)
        self.now, self.known_large = 0, 0.0
        self.findings: dict[str, tuple[int, Anomaly]] = {}
        large = iter(self.large)
        for observation in self.history:
            if isinstance(observation, TradeTick):
                self.trade(observation)
                continue
            now = max(self.now, observation.ts_event)
            self.judge_until(now)
            self.now = now
            if observation.restarted or not observation.known:
                self.start_over(now if observation.known else None)
            else:
                self.change(observation, next(large))
        self.judge_until(as_of)
        hold = self.params.hold_sec * SECOND
        return tuple(found for _, (at, found) in sorted(self.findings.items(), reverse=True) if as_of < at + hold)

    def start_over(self, since: int | None) -> None:
        self.since = since
        self.orders: dict[str, list[Placed]] = {"bid": [], "ask": []}
        self.groups: dict[str, list[Group]] = {"bid": [], "ask": []}
        self.cancels: list[tuple[int, str]] = []

    def at_price(self, side: str, price: float, now: int) -> Placed | None:
        window = self.params.window_sec * SECOND
        there = [order for order in self.orders[side] if order.price == price and not order.ended]
        return next((order for order in there if order.at + window > now), None)

    def trade(self, tick: TradeTick) -> None:
        order = self.at_price("bid" if tick.payload.aggressor_side == "sell" else "ask", tick.payload.price, 0)
        if order is None:
            return
        time, units, memory = int(tick.ts_event), round(tick.payload.qty * UNITS), self.params.explain_ms * MS
        if abs(time - order.fell_at) <= memory:
            explained = min(units, order.last_cancel)
            order.last_cancel -= explained
            order.cancelled -= explained
            units -= explained
        kept = order.traded if time - order.traded_at <= memory else 0
        order.traded, order.traded_at = kept + units, max(time, order.traded_at)

    def change(self, change: BookChange, large: float | None) -> None:
        self.known_large = self.known_large if large is None else large
        mid = None
        if change.best_bid is not None and change.best_ask is not None:
            mid = (change.best_bid + change.best_ask) / 2
        for side, levels in (("bid", change.bids), ("ask", change.asks)):
            best = change.best_bid if side == "bid" else change.best_ask
            falls = [self.fall(side, *level, best, mid) for level in levels if level[2] <= level[1]]
            if any(falls):
                self.cancels.append((self.now + self.params.requote_ms * MS, side))
            for price, before, after in levels:
                if mid is not None and large is not None and after - before >= large:
                    distance = abs(price - mid) / mid * 1e4
                    if self.params.min_distance_bps <= distance <= self.params.max_distance_bps:
                        self.place(side, price, round((after - before) * UNITS), distance)

    def fall(self, side: str, price: float, before: float, after: float, best: float | None, mid: float | None) -> bool:
        order = self.at_price(side, price, self.now)
        if order is None:
            return False
        units = round((before - after) * UNITS)
        traded = order.traded if self.now - order.traded_at <= self.params.explain_ms * MS else 0
        explained = min(units, traded)
        order.traded = traded - explained
        order.left -= min(explained, order.left)
        cancelled = min(units - explained, order.left)
        order.left -= cancelled
        young = self.now - order.at <= self.params.lifetime_sec * SECOND
        away = mid is not None and abs(price - mid) >= mid * self.params.min_distance_bps / 2e4
        behind = best is not None and (price < best if side == "bid" else price > best)
        if not (cancelled and young and away and behind):
            return False
        order.cancelled, order.last_cancel, order.fell_at = order.cancelled + cancelled, cancelled, self.now
        return True

    def place(self, side: str, price: float, units: int, distance: float) -> None:
        off = self.params.same_size * units
        alive = [group for group in self.groups[side] if self.now < group.at + self.params.routine_sec * SECOND]
        near = [group for group in alive if units - off <= group.units <= units + off]
        group = min(near, key=lambda each: (abs(each.units - units), each.at), default=None)
        if group is None:
            group = Group(units, self.now)
            self.groups[side].append(group)
        else:  # ties go to the one unseen for longest
            self.groups[side].remove(group)
            self.groups[side].append(group)
        group.units, group.at, group.seen = units, self.now, group.seen + 1

        recent = self.now - self.params.requote_ms * MS
        window = self.params.window_sec * SECOND
        pulled = [
            order
            for order in self.orders[side]
            if order.fell_at > recent
            and not order.ended
            and order.at + window > self.now
            and order.cancelled >= 0.75 * order.units
            and units - off <= order.units <= units + off
        ]
        moved = min(pulled, key=lambda each: (abs(each.units - units), abs(each.price - price)), default=None)
        if moved is not None:
            moved.ended = moved.moved = True
        count = moved.count if moved is not None else 1
        usual = count * round(self.known_large * UNITS)
        there = self.at_price(side, price, self.now)
        if there is not None and there.left > 0.25 * there.units:
            self.orders[side].remove(there)
            there.distance, there.at, there.group = distance, self.now, group
            there.units, there.left, there.count = there.units + units, there.left + units, there.count + count
            there.usual += usual
            self.orders[side].append(there)
        else:
            if there is not None:
                there.ended = True
            self.orders[side].append(Placed(price, distance, self.now, units, units, group, count, usual))
        standing = [each for each in self.orders[side] if self.stands(each) and each.group is group]
        group.together = max(group.together, len(standing))

    def stands(self, order: Placed) -> bool:
        young = order.at + self.params.window_sec * SECOND > self.now
        return young and not order.ended and order.left > 0.25 * order.units

    def judge_until(self, until: int) -> None:
        for at, side in [due for due in self.cancels if due[0] <= until]:
            found = self.judge(at, side)
            if found is not None:
                self.findings[side] = (at, found)
        self.cancels = [due for due in self.cancels if due[0] > until]

    def counted(self, at: int, side: str) -> list[Placed]:
        window = self.params.window_sec * SECOND
        young = [order for order in self.orders[side] if order.at + window > at and not order.moved]
        return [order for order in young if not self.is_routine(order.group, at)]

    def is_routine(self, group: Group, at: int) -> bool:
        size = min(group.units / (self.known_large * UNITS), 3.0)
        return (
            at < group.at + self.params.routine_sec * SECOND
            and group.together < self.params.layer
            and group.seen >= self.params.routine_count * max(group.together, size)
        )

    def cancelled(self, at: int, orders: Sequence[Placed]) -> int:
        requote = self.params.requote_ms * MS
        return sum(order.cancelled for order in orders if order.fell_at + requote <= at)

    def judge(self, at: int, side: str) -> Anomaly | None:
        params, orders = self.params, self.counted(at, side)
        other = self.cancelled(at, self.counted(at, "ask" if side == "bid" else "bid"))
        if self.since is None or at < self.since + params.learn_sec * SECOND:
            return None
        fresh = [order for order in orders if order.cancelled and order.fell_at + params.requote_ms * MS == at]
        for newest in sorted(fresh, key=lambda order: -order.units / order.count):
            size = newest.units / newest.count
            alike = [order for order in orders if 1 / params.size_ratio <= order.units / order.count / size]
            alike = [order for order in alike if order.units / order.count / size <= params.size_ratio]
            if self.suspicious(at, alike):
                return self.told(at, side, alike) if self.cancelled(at, alike) >= params.one_sided * other else None
        return None

    def suspicious(self, at: int, orders: Sequence[Placed]) -> bool:
        params, placements = self.params, sum(order.count for order in orders)
        placed = sum(order.units for order in orders)
        return (
            placements >= params.min_placements
            and self.cancelled(at, orders) >= params.cancel_rate * placed
            and placed >= params.mean_multiple * sum(order.usual for order in orders)
        )

    def told(self, at: int, side: str, orders: Sequence[Placed]) -> Anomaly:
        params, cancelled = self.params, self.cancelled(at, orders)
        placements, usual = sum(order.count for order in orders), sum(order.usual for order in orders)
        rate, multiple = cancelled / sum(order.units for order in orders), cancelled * placements / usual
        nearest, farthest = min(order.distance for order in orders), max(order.distance for order in orders)
        note = (
            f"{side}: {placements} large orders placed {nearest:.0f}-{farthest:.0f} bps from mid, "
            f"{rate * 100:.0f} % cancelled within {params.lifetime_sec} s ({multiple:.0f} x the large size)"
        )
        severe = multiple >= params.high_multiple and rate >= params.high_rate
        return Anomaly(
            "spoofing", "high" if severe else "medium" if multiple >= params.medium_multiple else "low", note
        )
