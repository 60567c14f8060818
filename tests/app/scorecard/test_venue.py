"""The venue: one quiet base market of two levels a side, with orders of ours."""

import random

import pytest

from app.microstructure.events import OrderBookDeltas, TradeTick
from app.scorecard.half import Resize
from app.scorecard.streams import MarketEvent, Stream
from app.scorecard.venue import InvalidStreamError, Venue
from producer.exchange.book import Side
from support import markets
from support.markets import SECOND, START
from support.scoring import market

BIDS = ((100.0, 5.0), (99.0, 8.0))
ASKS = ((101.0, 4.0), (102.0, 7.0))


def quiet_market() -> Stream:
    events: list[MarketEvent] = [markets.snapshot(10, BIDS, ASKS), markets.trade(500, price=100.0, side="sell")]
    return Stream("BTCUSDT", 0.5, 0.1, events)


def diff(update_id: int, bids: markets.Levels = (), asks: markets.Levels = ()) -> OrderBookDeltas:
    return markets.deltas(update_id, update_id, bids, asks, at=START + update_id * SECOND)


def published(venue: Venue, event: OrderBookDeltas) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Return bids and asks of the diff that leaves."""
    venue.now = int(event.ts_event)
    joint = venue.on_diff(event)[-1]
    assert isinstance(joint, OrderBookDeltas)
    return joint.payload.bids, joint.payload.asks


def test_without_orders_of_ours_the_stream_is_the_base_market() -> None:
    stream = market()
    venue = Venue(stream)
    joint = [stream.events[0]]
    for event in stream.events[1:]:
        joint += [venue.on_trade(event)] if isinstance(event, TradeTick) else venue.on_diff(event)
    assert joint == stream.events


def test_our_order_is_added_to_the_level_and_leaves_with_the_next_diff() -> None:
    venue = Venue(quiet_market())
    venue.bids.put(99.0, 2.0)
    venue.asks.put(103.0, 1.0)
    assert published(venue, diff(11)) == ([(99.0, 10.0)], [(103.0, 1.0)])
    assert published(venue, diff(12, bids=[(99.0, 3.0)])) == ([(99.0, 5.0)], [])
    venue.bids.put(99.0, 0.0)
    venue.asks.put(103.0, 0.0)
    assert published(venue, diff(13)) == ([(99.0, 3.0)], [(103.0, 0.0)])


def test_a_base_level_that_our_order_would_cross_is_hidden_while_it_stands() -> None:
    venue = Venue(quiet_market())
    venue.bids.put(100.5, 2.0)
    assert published(venue, diff(11, asks=[(100.5, 6.0)])) == ([(100.5, 2.0)], [(100.5, 0.0)])
    venue.bids.put(100.5, 0.0)
    assert published(venue, diff(12)) == ([(100.5, 0.0)], [(100.5, 6.0)])


def test_a_limit_hides_what_is_better_and_lets_it_come_back() -> None:
    venue = Venue(quiet_market())
    venue.bids.limit = 99.0
    assert published(venue, diff(11)) == ([(100.0, 0.0)], [])
    venue.bids.limit = None
    assert published(venue, diff(12)) == ([(100.0, 5.0)], [])


def test_makers_withdraw_down_to_a_price_and_come_back() -> None:
    venue = Venue(quiet_market())
    venue.asks.resize = Resize(101.5, 0.5, 100.0)
    assert published(venue, diff(11)) == ([], [(101.0, 2.0)])
    venue.asks.resize = None
    assert published(venue, diff(12)) == ([], [(101.0, 4.0)])


@pytest.mark.parametrize(("scale", "shown"), [(0.5, [2.5, 3.0]), (2.0, [6.0, 8.0])])
def test_large_levels_count_as_large_when_they_shrink_and_do_not_grow(scale: float, shown: list[float]) -> None:
    venue = Venue(quiet_market())
    venue.bids.resize = Resize(90.0, scale, 6.0)
    bids, _ = published(venue, diff(11))
    changed = dict(bids)
    assert [changed.get(100.0, 5.0), changed.get(99.0, 8.0)] == shown


def test_large_levels_that_were_hidden_come_back_in_part_and_the_base_market_can_still_change_them() -> None:
    venue = Venue(quiet_market())
    venue.bids.limit = 99.0
    venue.bids.resize = Resize(90.0, 0.5, 100.0)
    published(venue, diff(11))
    venue.bids.let_go(3.0)
    assert published(venue, diff(12)) == ([(99.0, 7.0), (100.0, 3.0)], [])
    assert published(venue, diff(13, bids=[(99.0, 6.0), (100.0, 0.0)])) == ([(99.0, 5.0), (100.0, 0.0)], [])
    assert published(venue, diff(14, bids=[(100.0, 9.0)])) == ([(100.0, 9.0)], [])


def test_large_levels_stay_when_a_limit_is_tightened_until_the_base_market_takes_them_back() -> None:
    venue = Venue(quiet_market())
    venue.bids.keep(6.0)
    venue.bids.limit = 98.0
    assert published(venue, diff(11, bids=[(98.0, 9.0), (97.0, 1.0)])) == (
        [(98.0, 9.0), (97.0, 1.0), (100.0, 0.0)],
        [],
    )
    assert venue.bids.shown(99.0) == 8.0
    assert published(venue, diff(12, bids=[(99.0, 0.0)])) == ([(99.0, 0.0)], [])
    assert published(venue, diff(13, bids=[(99.0, 8.0)])) == ([(99.0, 0.0)], [])


def test_kept_levels_are_hidden_when_none_are_to_be_kept() -> None:
    venue = Venue(quiet_market())
    venue.bids.keep(6.0)
    venue.bids.limit = 98.0
    published(venue, diff(11, bids=[(97.0, 1.0)]))
    venue.bids.keep(None)
    assert published(venue, diff(12)) == ([(99.0, 0.0)], [])


def test_base_trades_shrink_with_the_level_that_they_hit() -> None:
    venue = Venue(quiet_market())
    venue.bids.resize = Resize(90.0, 0.2, 100.0)
    published(venue, diff(11))
    assert venue.on_trade(markets.trade(500, price=100.0, qty=3.0, side="sell")).payload.qty == pytest.approx(0.6)
    assert published(venue, diff(12, bids=[(100.0, 2.0)])) == ([(100.0, 0.4)], [])


def test_a_market_order_walks_the_book_and_its_trades_come_before_the_diff() -> None:
    venue = Venue(quiet_market())
    venue.now = START + 11 * SECOND
    assert venue.market_order("sell", 6.0) == pytest.approx(6.0)
    events = venue.on_diff(diff(11))
    trades = [event for event in events if isinstance(event, TradeTick)]
    assert [(t.payload.price, t.payload.qty, t.payload.aggressor_side) for t in trades] == [
        (100.0, 5.0, "sell"),
        (99.0, 1.0, "sell"),
    ]
    assert all(START < trade.ts_event < START + 11 * SECOND for trade in trades)
    joint = events[-1]
    assert isinstance(joint, OrderBookDeltas)
    assert joint.payload.bids == [(99.0, 7.0), (100.0, 0.0)]


def test_what_was_eaten_stays_away_until_the_restock() -> None:
    venue = Venue(quiet_market())
    venue.market_order("buy", 4.5)
    assert published(venue, diff(11)) == ([], [(101.0, 0.0), (102.0, 6.5)])
    assert published(venue, diff(12, asks=[(101.0, 5.0)])) == ([], [(101.0, 1.0)])
    venue.asks.restock()
    assert published(venue, diff(13)) == ([], [(101.0, 5.0), (102.0, 7.0)])


def test_a_level_that_others_filled_up_keeps_its_size() -> None:
    venue = Venue(quiet_market())
    venue.market_order("buy", 4.0)
    venue.asks.restock(random.Random(1))
    ((_, size),) = published(venue, diff(11))[1]
    assert size != 4.0
    venue.asks.restock(random.Random(2))
    assert published(venue, diff(12)) == ([], [])


def test_a_market_order_stops_at_the_worst_price_accepted() -> None:
    venue = Venue(quiet_market())
    assert venue.market_order("sell", 100.0, not_beyond=100.0) == pytest.approx(5.0)


def test_two_market_orders_before_one_diff_do_not_trade_the_same_quantity_twice() -> None:
    venue = Venue(quiet_market())
    assert venue.market_order("sell", 3.0, not_beyond=100.0) == pytest.approx(3.0)
    assert venue.market_order("sell", 3.0, not_beyond=100.0) == pytest.approx(2.0)


def test_a_base_trade_meets_our_better_order_first() -> None:
    venue = Venue(quiet_market())
    venue.bids.put(100.5, 2.0)
    published(venue, diff(11))
    trade = venue.on_trade(markets.trade(500, price=100.0, qty=0.5, side="sell"))
    assert trade.payload.price == 100.5
    assert published(venue, diff(12)) == ([(100.5, 1.5)], [])


def test_trades_are_numbered_anew_in_one_sequence() -> None:
    venue = Venue(quiet_market())
    ids = [venue.on_trade(markets.trade(500)).payload.trade_id]
    venue.market_order("buy", 1.0)
    ids += [event.payload.trade_id for event in venue.on_diff(diff(11)) if isinstance(event, TradeTick)]
    ids.append(venue.on_trade(markets.trade(501)).payload.trade_id)
    assert ids == [500, 501, 502]


def test_a_script_that_crosses_its_own_orders_is_found_out() -> None:
    venue = Venue(quiet_market())
    venue.bids.put(101.5, 1.0)
    venue.asks.put(101.0, 1.0)
    with pytest.raises(InvalidStreamError, match="crossed"):
        venue.on_diff(diff(11))


def test_a_distance_is_measured_from_the_mid_price_and_never_reaches_the_touch() -> None:
    venue = Venue(quiet_market())
    assert venue.at_distance(Side.BID, 200.0) == 98.5
    assert venue.at_distance(Side.ASK, 1.0) == 101.5
