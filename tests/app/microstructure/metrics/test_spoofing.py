from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.microstructure.book import BookChange, OrderBook
from app.microstructure.events import OrderBookDeltas, TradeTick
from app.microstructure.metrics.large_orders import UNITS
from app.microstructure.metrics.quantity_history import QuantityHistory
from app.microstructure.metrics.spoofing import Spoofing, SpoofingParams, SpoofingState
from app.microstructure.report import Anomaly
from support.book_feed import BookFeed, Observation
from support.markets import SECOND
from support.tapes import tape_events

LARGE = 2.0
MS = SECOND // 1000
DEFAULTS = SpoofingParams()
Levels = Sequence[tuple[float, float]]

FIVE_BIDS = [(99.88, 6.0), (99.84, 6.5), (99.80, 7.0), (99.75, 7.5), (99.70, 8.0)]
FIVE_ASKS = [(100.12, 6.0), (100.16, 6.5), (100.20, 7.0), (100.25, 7.5), (100.30, 8.0)]


def watched(params: SpoofingParams = DEFAULTS, seconds: float = 61) -> tuple[BookFeed, Spoofing]:
    """Return a market and a detector that knows its sizes by now."""
    feed, detector = BookFeed(), Spoofing(lambda: LARGE, params)
    feed.listen(detector.update)
    feed.later(seconds).set()
    return feed, detector


def show(feed: BookFeed, bids: Levels = (), asks: Levels = (), *, seconds: float = 3.0, settle: float = 1.0) -> None:
    """Place orders all at once, take them back all at once, and let that count."""
    feed.set(bids, asks)
    feed.later(seconds).set([(price, 0.0) for price, _ in bids], [(price, 0.0) for price, _ in asks])
    feed.later(settle).set()


def test_large_orders_shown_and_taken_back_on_one_side_are_spoofing() -> None:
    feed, detector = watched()
    show(feed, FIVE_BIDS)
    note = "bid: 5 large orders placed 12-30 bps from mid, 100 % cancelled within 10 s (18 x the large size)"
    assert detector.value(feed.now) == (Anomaly("spoofing", "low", note),)


def test_spoofing_is_found_on_the_ask_side_too() -> None:
    feed, detector = watched()
    show(feed, asks=FIVE_ASKS)
    assert [found.note[:6] for found in detector.value(feed.now)] == ["ask: 5"]


@pytest.mark.parametrize("nearest", [2.5, 8, 30, 45])
def test_spoofing_is_found_near_and_far(nearest: float) -> None:
    feed, detector = watched()
    show(feed, [(round(100 - (nearest + n) / 100, 3), 6.0 + n / 2) for n in range(5)])
    assert detector.value(feed.now)


def test_orders_shown_one_after_the_other_are_spoofing() -> None:
    feed, detector = watched()
    for price, qty in FIVE_BIDS:
        show(feed, [(price, qty)], seconds=1.0)
    assert detector.value(feed.now)


@pytest.mark.parametrize(
    ("scale", "severity"), [(1.0, "low"), (2.0, "medium"), (5.0, "high")], ids=["18 x", "35 x", "88 x"]
)
def test_severity_rises_with_size(scale: float, severity: str) -> None:
    feed, detector = watched()
    show(feed, [(price, qty * scale) for price, qty in FIVE_BIDS])
    assert [found.severity for found in detector.value(feed.now)] == [severity]


def test_huge_orders_are_medium_while_some_of_them_stay() -> None:
    feed, detector = watched()
    staying = [(99.60, 90.0)]
    feed.set(staying)
    show(feed, [(price, qty * 10) for price, qty in FIVE_BIDS])
    assert [found.severity for found in detector.value(feed.now)] == ["medium"]


@pytest.mark.parametrize(("taken_back", "found"), [(8, False), (9, True)])
def test_three_quarters_are_enough(taken_back: int, found: bool) -> None:
    feed, detector = watched()
    orders = [(round(99.85 - n / 100, 2), 6.0) for n in range(12)]
    feed.set(orders)
    feed.later(2).set([(price, 0.0) for price, _ in orders[:taken_back]])
    assert bool(detector.value(feed.now + SECOND)) is found


def test_a_cancel_counts_once_it_is_clear_that_the_quote_did_not_move() -> None:
    feed, detector = watched()
    show(feed, FIVE_BIDS, settle=0.5)
    cancelled = feed.now - 500 * MS
    assert detector.value(cancelled + 1000 * MS - 1) == ()
    assert detector.value(cancelled + 1000 * MS) != ()


def test_a_finding_stays_for_its_time() -> None:
    feed, detector = watched()
    show(feed, FIVE_BIDS)
    found = feed.now
    assert detector.value(found + DEFAULTS.hold_sec * SECOND - 1) != ()
    assert detector.value(found + DEFAULTS.hold_sec * SECOND) == ()


def test_a_finding_is_not_prolonged_by_a_quote_that_moves() -> None:
    feed, detector = watched()
    feed.set([(99.65, 5.5)])
    show(feed, FIVE_BIDS)
    found = feed.now
    feed.later(2).set([(99.65, 0.0), (99.64, 5.5)])
    feed.later(2).set()
    assert detector.value(found + DEFAULTS.hold_sec * SECOND - 1) != ()
    assert detector.value(found + DEFAULTS.hold_sec * SECOND) == ()
    assert detector.snapshot().dues == []


@pytest.mark.parametrize(("orders", "found"), [(3, False), (4, True)])
def test_three_orders_are_too_few(orders: int, found: bool) -> None:
    feed, detector = watched()
    show(feed, FIVE_BIDS[:orders])
    assert bool(detector.value(feed.now)) is found


@pytest.mark.parametrize(("size", "found"), [(3.9, False), (10.6, False), (4.1, True), (10.4, True)])
def test_orders_are_alike_up_to_a_ratio_of_their_sizes(size: float, found: bool) -> None:
    feed, detector = watched()
    show(feed, [*FIVE_BIDS[:3], (99.75, size)])
    assert bool(detector.value(feed.now)) is found


def test_smaller_orders_that_stay_hide_no_spoofing() -> None:
    feed, detector = watched()
    feed.set([(round(99.65 - n / 100, 2), 3.0 + n / 10) for n in range(8)])
    show(feed, FIVE_BIDS)
    assert [found.note[:6] for found in detector.value(feed.now)] == ["bid: 5"]


def test_what_was_not_conspicuous_when_it_was_placed_is_not_when_the_book_thins() -> None:
    large = [LARGE]
    feed, detector = BookFeed(), Spoofing(lambda: large[0])
    feed.listen(detector.update)
    feed.later(61).set([(price, qty / 2) for price, qty in FIVE_BIDS])
    large[0] = LARGE / 10
    feed.later(3).set([(price, 0.0) for price, _ in FIVE_BIDS])
    feed.later(1).set()
    assert detector.value(feed.now) == ()


def test_several_small_bursts_of_different_size_are_ordinary() -> None:
    feed, detector = watched()
    show(feed, [(round(99.88 - n / 100, 2), qty) for n, qty in enumerate((6.0, 6.5, 12.0, 12.5, 24.0, 25.0))])
    assert detector.value(feed.now) == ()


def test_orders_that_are_hardly_larger_than_the_large_size_are_not_conspicuous() -> None:
    feed, detector = watched()
    show(feed, [(price, 2.5 + n / 5) for n, (price, _) in enumerate(FIVE_BIDS)])
    assert detector.value(feed.now) == ()


@pytest.mark.parametrize("distance", [1.9, 51.0])
def test_orders_at_the_touch_and_out_of_reach_are_not_watched(distance: float) -> None:
    feed, detector = watched(msgspec.structs.replace(DEFAULTS, min_placements=1))
    show(feed, [(round(100 - distance / 100, 3), 50.0)])
    assert detector.value(feed.now) == ()


def test_a_cancel_at_the_touch_is_no_spoofing() -> None:
    feed, detector = watched()
    feed.set(FIVE_BIDS)
    feed.later(1).set([(round(100 - n / 100, 2), 0.0) for n in range(1, 11)], [(99.89, 1.0)])
    feed.later(1).set([(99.88, 0.0), (99.875, 1.0)])
    feed.later(0.1).set([(price, 0.0) for price, _ in FIVE_BIDS[1:]])
    feed.later(1).set()
    (found,) = detector.value(feed.now)
    assert "83 % cancelled" in found.note


def test_orders_that_wait_are_ordinary() -> None:
    feed, detector = watched()
    show(feed, FIVE_BIDS, seconds=DEFAULTS.lifetime_sec + 0.1)
    assert detector.value(feed.now) == ()


def test_orders_that_stay_are_ordinary() -> None:
    feed, detector = watched()
    for price, qty in [*FIVE_BIDS, (99.65, 6.5), (99.62, 7.5), (99.58, 8.5)]:
        feed.later(1).set([(price, qty)])
    feed.later(1).set([(99.88, 0.0), (99.84, 0.0)])
    feed.later(2).set()
    assert detector.value(feed.now) == ()


@pytest.mark.parametrize("late", [False, True], ids=["before the book event", "after it"])
def test_what_trades_explain_was_not_cancelled(late: bool) -> None:
    feed, detector = watched()
    for price, qty in FIVE_BIDS:
        feed.set([(price, qty)])
        feed.later(1)
        if not late:
            feed.trade(price, qty)
        feed.later(0.1).set([(price, 0.0)])
        if late:
            feed.trade(price, qty, ago=0.05)
        feed.later(1.5).set()
    assert detector.value(feed.now) == ()


@pytest.mark.parametrize(("aggressor", "ago"), [("buy", 0.0), ("sell", 2.0)], ids=["other side", "long before"])
def test_trades_that_cannot_have_hit_the_order_explain_nothing(aggressor: str, ago: float) -> None:
    feed, detector = watched()
    feed.set(FIVE_BIDS)
    feed.later(3)
    for price, qty in FIVE_BIDS:
        feed.trade(price, qty, aggressor, ago=ago)  # type: ignore[arg-type]
    feed.set([(price, 0.0) for price, _ in FIVE_BIDS])
    assert detector.value(feed.now + SECOND)


def test_a_ladder_that_moves_with_the_market_is_quoting() -> None:
    feed, detector = watched()
    ladder = [(round(99.90 - n / 20, 2), 5.0 + n) for n in range(5)]
    feed.set(ladder)
    for step in range(1, 60):
        moved = [(round(price - step % 4 / 100, 2), qty) for price, qty in ladder]
        before = [(round(price - (step - 1) % 4 / 100, 2), 0.0) for price, _ in ladder]
        if step % 2:
            feed.later(0.7).set(before)
            feed.later(0.3).set(moved)
        else:
            feed.later(0.7).set([*before, *moved])
        assert detector.value(feed.now + 500 * MS) == ()


def test_a_quote_of_one_size_that_comes_and_goes_is_routine() -> None:
    feed, detector = watched(seconds=1)
    for _cycle in range(40):
        show(feed, [(99.88, 5.0), (99.75, 7.0)], seconds=1.0, settle=3.0)
        assert detector.value(feed.now) == ()


def test_layers_of_one_size_are_no_routine() -> None:
    feed, detector = watched()
    for _cycle in range(6):
        show(feed, [(price, 6.0) for price, _ in FIVE_BIDS], seconds=1.0, settle=3.0)
    assert detector.value(feed.now)


def test_a_market_maker_who_renews_both_sides_is_no_spoofer() -> None:
    feed, detector = watched()
    for cycle in range(10):
        show(
            feed,
            [(price, qty * (1 + cycle / 7)) for price, qty in FIVE_BIDS],
            [(price, qty * (1 + cycle / 9)) for price, qty in FIVE_ASKS],
            seconds=1.0,
            settle=2.0,
        )
        assert detector.value(feed.now) == ()


def test_nothing_is_said_before_the_sizes_are_known() -> None:
    feed, detector = watched(seconds=10)
    show(feed, FIVE_BIDS)
    assert detector.value(feed.now) == ()


def test_nothing_is_large_while_the_large_size_is_not_known() -> None:
    feed, detector = BookFeed(), Spoofing(lambda: None)
    feed.listen(detector.update)
    feed.later(61)
    show(feed, FIVE_BIDS)
    assert detector.value(feed.now) == ()


def test_a_book_that_restarts_shows_no_orders_and_no_cancels() -> None:
    feed, detector = watched()
    feed.set(FIVE_BIDS[:4])
    feed.later(1).restart(bids=FIVE_BIDS)
    feed.later(61).set()
    feed.set([(price, 0.0) for price, _ in FIVE_BIDS])
    feed.later(2).set()
    feed.lose()
    feed.later(1).restart()
    feed.later(62).set()
    assert detector.value(feed.now) == ()


@pytest.mark.parametrize("lost", [False, True], ids=["replaced", "given up"])
def test_nothing_is_remembered_of_a_book_that_is_no_more(lost: bool) -> None:
    feed, detector = watched()
    show(feed, FIVE_BIDS[:4], FIVE_ASKS[:4], settle=0.5)
    if lost:
        feed.lose()
    else:
        feed.restart()
    state = detector.snapshot()
    assert not any(side.orders or side.displaced or side.sizes for side in state.orders)
    assert state.dues == []


def test_a_finding_outlives_the_book() -> None:
    feed, detector = watched()
    show(feed, FIVE_BIDS)
    feed.lose()
    assert detector.value(feed.now) != ()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"lifetime_sec": 31}, "lifetime_sec 31 is not allowed: at most window_sec, 30"),
        ({"cancel_rate": 0.6}, "cancel_rate 0.6 is not allowed: at least 0.7"),
        ({"explain_ms": 1000}, "explain_ms 1000 is not allowed: less than requote_ms, 1000"),
    ],
)
def test_parameters_that_contradict_each_other_are_refused(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SpoofingParams(**wrong)  # type: ignore[arg-type]


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


QUICK = SpoofingParams(
    min_placements=2,
    window_sec=8,
    lifetime_sec=5,
    explain_ms=300,
    requote_ms=400,
    routine_count=2,
    routine_sec=12,
    learn_sec=1,
    hold_sec=4,
    one_sided=1.0,
    mean_multiple=1.0,
    medium_multiple=4.0,
    high_multiple=8.0,
)
OFFSETS = (6, 12, 12.5, 20, 30)
BID = st.sampled_from((True, True, True, False))
LEVEL = st.tuples(
    BID, st.sampled_from((*OFFSETS, *OFFSETS, 1, 3, 60)), st.sampled_from((0.0, 1.0, 3.0, 3.03, 5.0, 8.0))
)
SHOWN = st.lists(LEVEL, min_size=1, max_size=4).map(lambda levels: ("show", levels))
TAKEN_BACK = st.tuples(st.just("take back"), BID, st.integers(1, len(OFFSETS)))
TRADED = st.tuples(st.just("trade"), BID, st.sampled_from(OFFSETS), st.sampled_from((0.5, 3.0, 5.0)), st.integers(0, 4))
OTHER = st.sampled_from((("nothing",), ("restart",)))
STEPS = st.lists(
    st.tuples(
        st.sampled_from((0, 100, 300, 400, 500, 1000, 2500)),
        st.one_of(SHOWN, SHOWN, SHOWN, TAKEN_BACK, TAKEN_BACK, TAKEN_BACK, TRADED, OTHER),
    ),
    min_size=5,
    max_size=40,
)


def price_of(bid: bool, offset: float) -> float:
    return round(100 + (-offset if bid else offset) / 100, 3)


def played(steps: Sequence[tuple[int, tuple[Any, ...]]]) -> list[Observation]:
    """Return what an engine would hand on for such steps."""
    feed = BookFeed()
    feed.restart()
    for pause, step in steps:
        feed.later(pause / 1000)
        match step:
            case "show", levels:
                bids = [(price_of(True, offset), qty) for bid, offset, qty in levels if bid]
                feed.set(bids, [(price_of(False, offset), qty) for bid, offset, qty in levels if not bid])
            case "take back", bid, count:
                gone = [(price_of(bid, offset), 0.0) for offset in OFFSETS[-count:]]
                feed.set(gone if bid else (), () if bid else gone)
            case "trade", bid, offset, qty, ago:
                feed.trade(price_of(bid, offset), qty, "sell" if bid else "buy", ago=ago / 10)
            case ("nothing",):
                feed.set()
            case _:
                feed.restart()
    return feed.observations


def large_sizes(observations: Sequence[Observation], unknown: int) -> list[float | None]:
    count = sum(isinstance(each, BookChange) and each.known and not each.restarted for each in observations)
    return [None if number < unknown else LARGE for number in range(count)]


@settings(max_examples=400, deadline=None)
@given(STEPS, st.integers(0, 3))
def test_findings_equal_the_definition_over_the_whole_history_at_every_prefix(
    steps: list[tuple[int, tuple[Any, ...]]], unknown: int
) -> None:
    observations = played(steps)
    sizes = large_sizes(observations, unknown)
    given_sizes = iter(sizes)
    detector, reference = Spoofing(lambda: next(given_sizes), QUICK), Reference(sizes, QUICK)
    for observation in observations:
        detector.update(observation)
        reference.update(observation)
        newest = max(int(each.ts_event) for each in reference.history)
        for later in (0, 400, 4000):
            assert detector.value(newest + later * MS) == reference.value(newest + later * MS)


@given(STEPS, st.data())
def test_a_restored_detector_goes_on_as_if_nothing_had_happened(
    steps: list[tuple[int, tuple[Any, ...]]], data: st.DataObject
) -> None:
    observations = played(steps)
    cut = data.draw(st.integers(0, len(observations)))
    whole, first = Spoofing(lambda: LARGE, QUICK), Spoofing(lambda: LARGE, QUICK)
    for observation in observations:
        whole.update(observation)
    for observation in observations[:cut]:
        first.update(observation)
        first.value(int(observation.ts_event) + 5 * SECOND)
    packed = msgspec.msgpack.encode(first.snapshot())
    resumed = Spoofing.restore(msgspec.msgpack.decode(packed, type=SpoofingState), lambda: LARGE, QUICK)
    for observation in observations[cut:]:
        resumed.update(observation)
    assert msgspec.msgpack.encode(resumed.snapshot()) == msgspec.msgpack.encode(whole.snapshot())
    assert msgspec.msgpack.encode(first.snapshot()) == packed


def on_tape(path: Path) -> list[Observation]:
    book, observations = OrderBook(), list[Observation]()
    for event in tape_events(path):
        if isinstance(event, TradeTick):
            observations.append(event)
        elif isinstance(event, OrderBookDeltas):
            change = book.apply_deltas(event.payload, int(event.ts_event))
            assert change is not None
            observations.append(change)
    return observations


@pytest.mark.tape
def test_findings_equal_the_definition_on_the_tape(tape_path: Path) -> None:
    eager = SpoofingParams(
        min_placements=2, one_sided=0.5, mean_multiple=1.0, learn_sec=0, routine_count=10, hold_sec=2, lifetime_sec=30
    )
    observations = on_tape(tape_path)[:2500]
    sizes = [LARGE] * len(observations)
    detector, reference = Spoofing(lambda: LARGE, eager), Reference(sizes, eager)
    found = 0
    for number, observation in enumerate(observations):
        detector.update(observation)
        reference.update(observation)
        if number % 100 == 99:
            newest = max(int(each.ts_event) for each in reference.history)
            expected = reference.value(newest + SECOND)
            assert detector.value(newest + SECOND) == expected
            found += len(expected)
    assert found > 0


@pytest.mark.tape
def test_nothing_is_found_on_the_recorded_market(tape_path: Path) -> None:
    history = QuantityHistory()
    detector = Spoofing(history.large)
    for observation in on_tape(tape_path):
        if isinstance(observation, BookChange):
            history.update(observation)
        detector.update(observation)
        assert detector.value(int(observation.ts_event)) == ()
