"""What is injected is what its name says, and the stream stays one that a venue could have sent."""

import random
from collections import Counter, defaultdict
from itertools import pairwise

import pytest

from app.microstructure.book import OrderBook
from app.microstructure.events import OrderBookDeltas, TradeTick
from app.scorecard.catalogue import DETECTORS, KINDS, Kind, kinds_for
from app.scorecard.inject import Episode, Injection, Pace
from app.scorecard.streams import MarketEvent
from app.scorecard.venue import Venue
from support.markets import SECOND
from support.scoring import market

BPS = 1e-4


def kind(name: str) -> Kind:
    return next(kind for kind in KINDS if kind.name == name)


def played(name: str, seed: str = "1", symbol: str = "SOLUSDT") -> tuple[list[MarketEvent], Episode]:
    """Return a stream and the only episode in it."""
    injection = Injection(market(symbol, seconds=120.0), [kind(name)], Pace(30.0, 100.0), seed)
    events = list(injection)
    return events, injection.episodes[0]


@pytest.mark.parametrize("symbol", ["SOLUSDT", "BTCUSDT"])
@pytest.mark.parametrize("detector", DETECTORS)
def test_every_injected_stream_is_in_sequence_and_never_crossed(detector: str, symbol: str) -> None:
    injection = Injection(
        market(symbol, seconds=150.0), [k for k in KINDS if k.detector == detector], Pace(5.0, 1.0), "7"
    )
    events = list(injection)
    book, trade_ids = OrderBook(), []
    for event in events:
        if isinstance(event, TradeTick):
            trade_ids.append(event.payload.trade_id)
            assert event.payload.qty > 0
        else:
            book.apply_deltas(event.payload, int(event.ts_event))
    assert book.ok
    assert book.gap_count == 0
    assert all(newer == older + 1 for older, newer in pairwise(trade_ids))
    diffs = [event.payload for event in events if isinstance(event, OrderBookDeltas)]
    base = [event.payload for event in market(symbol, seconds=150.0).events if isinstance(event, OrderBookDeltas)]
    assert [(d.first_update_id, d.final_update_id) for d in diffs] == [
        (d.first_update_id, d.final_update_id) for d in base
    ]
    assert len(injection.episodes) >= 3


@pytest.mark.parametrize("name", [kind.name for kind in KINDS])
def test_after_an_episode_the_market_is_the_base_market_again(name: str) -> None:
    """Only orders that are meant to stay ("genuine depth") are still there."""
    stream = market(seconds=120.0)
    venue = Venue(stream)
    script = kind(name).write(venue, random.Random(3), "medium")
    over = 0
    for event in stream.events[1:]:
        if isinstance(event, TradeTick):
            venue.on_trade(event)
            continue
        venue.now = int(event.ts_event)
        if not over and next(script, "over") == "over":
            over = venue.now
        venue.on_diff(event)
    assert over
    for half in (venue.bids, venue.asks):
        assert bool(half.own_prices()) <= (name == "genuine depth")
        assert (half.limit, half.resize) == (None, None)


def test_the_same_seed_plays_the_same() -> None:
    first, second, other = (
        list(Injection(market(seconds=40.0), list(KINDS), Pace(5.0, 1.0), seed)) for seed in ("5", "5", "6")
    )
    assert first == second
    assert first != other


def test_an_episode_that_the_end_cuts_off_is_no_truth() -> None:
    injection = Injection(market(seconds=40.0), [kind("orderly fall")], Pace(30.0, 1.0), "1")
    list(injection)
    assert not injection.episodes
    assert len(injection.spoiled) == 1


@pytest.mark.parametrize(("name", "least", "most"), [("spoofing near", 2.0, 6.0), ("spoofing far", 10.0, 40.0)])
def test_spoofing_places_large_orders_far_from_mid_and_takes_them_back(name: str, least: float, most: float) -> None:
    events, episode = played(name)
    placed = _own_changes(events, episode, grows=True)
    taken_back = _own_changes(events, episode, grows=False)
    assert len(placed) >= 5
    assert all(least - 1.0 <= bps <= most + 1.0 for bps, _ in placed)
    assert sum(qty for _, qty in taken_back) == pytest.approx(sum(qty for _, qty in placed))


def _own_changes(events: list[MarketEvent], episode: Episode, *, grows: bool) -> list[tuple[float, float]]:
    """Return distance (bps) and size of what the stream has beyond the base market, change by change."""
    base_diffs = (event for event in market(seconds=120.0).events if isinstance(event, OrderBookDeltas))
    book = OrderBook()
    base: dict[float, float] = {}
    joint: dict[float, float] = {}
    extra: dict[float, float] = defaultdict(float)
    changes: list[tuple[float, float]] = []
    for event in events:
        if isinstance(event, TradeTick) or event.ts_event > episode.end + SECOND:
            continue
        told = dict(event.payload.bids + event.payload.asks)
        plain = next(base_diffs).payload
        joint |= told
        base |= dict(plain.bids + plain.asks)
        book.apply_deltas(event.payload, 0)
        (bid, _), (ask, _) = (side[0] for side in book.top(1))
        for price in told:
            own = joint[price] - base.get(price, 0.0)
            moved, extra[price] = own - extra[price], own
            if (moved > 1e-6) if grows else (moved < -1e-6):
                changes.append((abs(2 * price / (bid + ask) - 1) / BPS, abs(moved)))
    return changes


@pytest.mark.parametrize("name", ["iceberg exact", "iceberg noisy"])
def test_an_iceberg_is_filled_often_at_one_price_while_the_quantity_there_stays_within_a_tenth(name: str) -> None:
    events, episode = played(name)
    fills, shown = _at_busiest_price(events, episode)
    assert fills >= 6
    assert max(shown) / min(shown) <= 1.1


@pytest.mark.parametrize("name", ["refilled level", "resting order"])
def test_what_looks_like_an_iceberg_differs_in_what_the_level_shows(name: str) -> None:
    events, episode = played(name)
    fills, shown = _at_busiest_price(events, episode)
    assert fills >= 6
    if name == "refilled level":
        assert max(shown) / min(shown) > 1.5
    else:
        assert shown == sorted(shown, reverse=True)


def _at_busiest_price(events: list[MarketEvent], episode: Episode) -> tuple[int, list[float]]:
    """Return how many trades the price with most of them had, and the quantities seen there from the third on."""
    during = [event for event in events if episode.start < event.ts_event < episode.end]
    ((price, fills),) = Counter(e.payload.price for e in during if isinstance(e, TradeTick)).most_common(1)
    trades = [e.ts_event for e in during if isinstance(e, TradeTick) and e.payload.price == price]
    shown = [
        qty
        for event in events
        if isinstance(event, OrderBookDeltas) and trades[2] <= event.ts_event <= trades[-1]
        for level, qty in event.payload.bids + event.payload.asks
        if level == price and qty
    ]
    return fills, shown


@pytest.mark.parametrize(
    ("name", "wide", "thin", "sold"),
    [
        ("crash", True, True, True),
        ("wide and thin", True, True, False),
        ("thin and sold", False, True, True),
        ("wide and sold", True, False, True),
        ("thin only", False, True, False),
        ("wide only", True, False, False),
        ("fast and deep", False, False, True),
        ("orderly fall", False, False, True),
    ],
)
def test_a_crash_has_the_signs_that_its_name_says(name: str, wide: bool, thin: bool, sold: bool) -> None:
    events, episode = played(name)
    before = _state(events, 0, episode.start)
    during = _state(events, episode.start, episode.start + (episode.end - episode.start) * 2 // 3)
    assert (during.spread_p75 > 3 * before.spread_p75) == wide
    assert (during.depth_p25 < 0.6 * before.depth_p25) == thin
    assert (during.sold_per_sec > 1.5 * before.sold_per_sec) == sold


class _State:
    def __init__(self, spreads: list[float], depths: list[float], sold: float, seconds: float) -> None:
        self.spread_p75 = sorted(spreads)[len(spreads) * 3 // 4]
        self.depth_p25 = sorted(depths)[len(depths) // 4]
        self.sold_per_sec = sold / seconds


def _state(events: list[MarketEvent], start: int, end: int) -> _State:
    book = OrderBook()
    spreads: list[float] = []
    depths: list[float] = []
    sold = 0.0
    for event in events:
        inside = start < event.ts_event <= end
        if isinstance(event, TradeTick):
            sold += event.payload.qty if inside and event.payload.aggressor_side == "sell" else 0.0
            continue
        book.apply_deltas(event.payload, 0)
        if inside:
            bids, asks = book.top(20)
            spreads.append(asks[0][0] - bids[0][0])
            depths.append(sum(qty for _, qty in bids + asks))
    return _State(spreads, depths, sold, (end - max(start, market(seconds=120.0).start)) / 1e9)


def test_every_detector_has_patterns_and_look_alikes() -> None:
    for detector in DETECTORS:
        assert {"pattern", "look_alike"} <= {kind.role for kind in kinds_for(detector)}
    assert len({kind.name for kind in KINDS}) == len(KINDS)
