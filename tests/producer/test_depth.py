"""The top of the book as a NautilusTrader type."""

import pytest
from nautilus_trader.model.identifiers import InstrumentId

from producer.depth import BookDepth, custom_data, data_type
from producer.wire import TextLevel

BTC = InstrumentId.from_str("BTCUSDT.BINANCE")
LEVEL = ("61837.63000000", "3.78826000")


def make(bids: list[TextLevel], asks: list[TextLevel]) -> BookDepth:
    return BookDepth(BTC, 7, bids, asks, ts_event=1, ts_init=2)


def test_it_goes_to_those_who_subscribed_to_its_instrument() -> None:
    depth = make([LEVEL], [LEVEL])
    assert custom_data(depth).data_type == data_type(BTC)
    assert custom_data(depth).data_type != data_type(InstrumentId.from_str("ETHUSDT.BINANCE"))
    assert (depth.ts_event, depth.ts_init) == (1, 2)


@pytest.mark.parametrize("text", ["", "1e5", "-1.0", ".5", "1.", "01.5", "NaN", "1,5", "1.0]", " 1", "١"])
def test_what_is_no_json_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a price and a quantity"):
        make([(text, "1.0")], [])
    with pytest.raises(ValueError, match="is not a price and a quantity"):
        make([], [("1.0", text)])


def test_more_than_20_levels_are_refused() -> None:
    with pytest.raises(ValueError, match="21 bids"):
        make([LEVEL] * 21, [])
