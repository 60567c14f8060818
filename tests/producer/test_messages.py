"""Binance's messages as NautilusTrader data."""

import re

import msgspec
import pytest
from nautilus_trader.adapters.binance.common.schemas.market import BinanceOrderBookMsg
from nautilus_trader.adapters.binance.spot.schemas.market import BinanceSpotTradeData
from nautilus_trader.model.data import OrderBookDeltas, TradeTick
from nautilus_trader.model.identifiers import InstrumentId

from producer import messages

BTC = InstrumentId.from_str("BTCUSDT.BINANCE")
AT = 1_723_161_255_208_000_000
DIFF = (
    b'{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1723161255208,"s":"BTCUSDT",'
    b'"U":50093239189,"u":50093239202,"b":[["61737.63000000","0.00000000"],["61730.17000000","1.50000000"]],'
    b'"a":[["61837.64000000","1.54698000"],["61839.85000000","0.00000000"]]}}'
)


def test_a_diff_becomes_what_the_stock_adapter_makes_of_it() -> None:
    diff = messages.decode_diff(DIFF).data
    ours = messages.change(BTC, messages.orders(diff.bids, diff.asks), diff.final_update_id, AT, AT + 5)
    stock = msgspec.json.decode(DIFF, type=BinanceOrderBookMsg).data.parse_to_order_book_deltas(BTC, AT + 5)
    assert ours is not None
    ours_dict, stock_dict = OrderBookDeltas.to_dict(ours), OrderBookDeltas.to_dict(stock)
    assert ours_dict == stock_dict | {"type": "TextDeltas"}
    assert isinstance(ours, messages.TextDeltas)
    assert (ours.bids, ours.asks) == (diff.bids, diff.asks)
    assert (diff.symbol, diff.first_update_id, diff.event_time) == ("BTCUSDT", 50093239189, 1723161255208)


@pytest.mark.parametrize("buyer_is_maker", [True, False])
def test_a_trade_becomes_what_the_stock_adapter_makes_of_it(buyer_is_maker: bool) -> None:
    trade = BinanceSpotTradeData(
        e="trade", E=1_723_161_255_209, s="BTCUSDT", t=3_735_683_259, p="61837.63000000", q="0.02000000",
        T=1_723_161_255_208, m=buyer_is_maker,
    )  # fmt: skip
    ours, stock = messages.trade_tick(BTC, trade, AT + 5), trade.parse_to_trade_tick(BTC, AT + 5)
    assert TradeTick.to_dict(ours) == TradeTick.to_dict(stock) | {"ts_event": AT}
    assert ours.ts_event == AT, "exact, where the stock adapter goes through a float"


def test_a_diff_without_levels_becomes_nothing() -> None:
    assert messages.change(BTC, messages.orders([], []), 7, AT, AT) is None


def test_a_snapshot_begins_with_a_clear_and_one_without_levels_is_only_that() -> None:
    levels = messages.orders([("61837.63000000", "3.78826000")], [("61837.64000000", "1.60520000")])
    whole = messages.replacement(BTC, levels, 7, AT, AT)
    assert [str(delta.action.name) for delta in whole.deltas] == ["CLEAR", "ADD", "ADD"]
    assert whole.is_snapshot
    assert whole.sequence == 7
    unknown = messages.replacement(BTC, [], 7, AT, AT)
    assert [delta.action.name for delta in unknown.deltas] == ["CLEAR"]
    assert (unknown.sequence, unknown.ts_event) == (7, AT)


@pytest.mark.parametrize(
    "text", ["", "abc", "-1", "1e400", "99999999999999999999", "1e5", "1_0", "01", ".5", "5.", "+1", " 1", "NaN"]
)
def test_a_quantity_that_cannot_be_held_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(text)) if len(text) < 20 else "exceed"):
        messages.orders([("1.0", text)], [])
