from collections.abc import Iterator
from typing import Any

import pytest
from nautilus_trader.model.data import TradeTick
from nautilus_trader.model.enums import AggressorSide
from nautilus_trader.model.identifiers import TradeId
from nautilus_trader.model.objects import Price, Quantity

from producer.backtest.nautilus import BATCH, instrument_id, replayed
from producer.backtest.source import BacktestError, Extent

AT = 1_723_161_255_000_000_000


class Trades:
    """A source of trades with given ids."""

    def __init__(self, *ids: str, price: str = "61837.63000000") -> None:
        self.symbols = ["BTCUSDT"]
        self.extent = Extent(AT, AT, 0, len(ids))
        self._ids = ids
        self._price = price

    def data(self) -> Iterator[Any]:
        for number, trade_id in enumerate(self._ids):
            yield TradeTick(
                instrument_id("BTCUSDT"),
                Price.from_str(self._price),
                Quantity.from_str("1.00000000"),
                AggressorSide.BUYER,
                TradeId(trade_id),
                AT + number,
                AT + number,
            )


def test_more_than_a_batch_goes_through_whole_and_in_order() -> None:
    ids = [str(number) for number in range(BATCH + 7)]
    advanced: list[int] = []
    found = list(replayed(Trades(*ids), advanced.append))
    assert [value.split(b'"trade_id":')[1] for _, value in found] == [f"{number}}}}}".encode() for number in ids]
    assert advanced == [BATCH, 7]


def test_data_that_the_actor_cannot_turn_into_an_event_end_the_run() -> None:
    with pytest.raises(BacktestError, match=r"recorded data cannot be turned into an event: ValueError.*'abc'"):
        list(replayed(Trades("1", "abc", "2"), lambda _: None))


def test_data_that_nautilus_trader_refuses_end_the_run() -> None:
    with pytest.raises(BacktestError, match=r"NautilusTrader refuses the data: invalid tick.price.precision=2"):
        list(replayed(Trades("1", price="61837.63"), lambda _: None))


def test_a_run_that_is_given_up_lets_another_one_begin() -> None:
    for _ in range(2):
        events = replayed(Trades("1", "2"), lambda _: None)
        next(events)
        events.close()
