"""The venue: one quiet base market of two levels a side, with orders of ours."""

import pytest

from app.microstructure.events import OrderBookDeltas, TradeTick
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


def test_scale_reaches_only_levels_near_the_touch() -> None:
    venue = Venue(quiet_market())
    venue.asks.scale, venue.asks.reach = 0.5, 0.005
    assert published(venue, diff(11)) == ([], [(101.0, 2.0)])
    venue.asks.scale = 1.0
    assert published(venue, diff(12)) == ([], [(101.0, 4.0)])


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


def test_what_was_eaten_comes_back_when_the_base_market_touches_the_level_or_on_restock() -> None:
    venue = Venue(quiet_market())
    venue.market_order("buy", 4.5)
    assert published(venue, diff(11)) == ([], [(101.0, 0.0), (102.0, 6.5)])
    assert published(venue, diff(12, asks=[(101.0, 2.0)])) == ([], [(101.0, 2.0)])
    venue.asks.restock()
    assert published(venue, diff(13)) == ([], [(102.0, 7.0)])


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
