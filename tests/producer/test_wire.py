"""The four encoders against the schema and against the worker's own decoder."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.microstructure import events, rfc3339
from producer import wire
from support.contracts import validate_event

AT = 1_723_161_255_208_000_000
RECEIVED = 1_723_161_253_937_085_768

_texts = st.decimals(min_value="0.00000001", max_value="99999999", places=8, allow_nan=False).map(
    lambda number: f"{number:f}"
)
_quantities = st.one_of(st.just("0.00000000"), _texts)
_levels = st.lists(st.tuples(_texts, _quantities), max_size=20)


def test_a_trade_is_written_as_documented() -> None:
    value = wire.trade("BTCUSDT", AT, RECEIVED, price="61837.63000000", qty="0.02000000", side="sell", trade_id="7")
    assert value == (
        b'{"symbol":"BTCUSDT","venue":"BINANCE","type":"trade_tick","ts_event":"2024-08-08T23:54:15.208Z",'
        b'"ts_init":"2024-08-08T23:54:13.937085Z","payload":{"price":61837.63000000,"qty":0.02000000,'
        b'"aggressor_side":"sell","trade_id":7}}'
    )


@given(_texts, _texts, st.sampled_from(["buy", "sell"]), st.integers(0, 2**63 - 1))
def test_every_trade_is_valid_and_keeps_its_text(price: str, qty: str, side: str, trade_id: int) -> None:
    value = wire.trade("ETHBTC", AT, RECEIVED, price=price, qty=qty, side=side, trade_id=str(trade_id))
    validate_event(value)
    event = events.decode(value, b"ETHBTC")
    assert isinstance(event, events.TradeTick)
    assert event.payload == events.TradePayload(float(price), float(qty), side, trade_id)  # type: ignore[arg-type]
    assert f'"price":{price},"qty":{qty},'.encode() in value


@given(st.integers(1, 2**62), st.integers(0, 1000), st.booleans(), _levels, _levels)
def test_every_change_of_the_book_is_valid_and_keeps_its_text(
    first: int, more: int, snapshot: bool, bids: list[tuple[str, str]], asks: list[tuple[str, str]]
) -> None:
    value = wire.deltas(
        "BTCUSDT",
        AT,
        RECEIVED,
        first_update_id=first,
        final_update_id=first + more,
        snapshot=snapshot,
        bids=bids,
        asks=asks,
    )
    validate_event(value)
    event = events.decode(value, b"BTCUSDT")
    assert isinstance(event, events.OrderBookDeltas)
    assert (event.payload.first_update_id, event.payload.final_update_id) == (first, first + more)
    assert event.payload.snapshot is snapshot
    exact = json.loads(value, parse_float=str)["payload"]
    assert [tuple(level) for level in exact["bids"]] == bids
    assert [tuple(level) for level in exact["asks"]] == asks


@given(_levels, _levels)
def test_every_depth_is_valid_and_keeps_its_text(bids: list[tuple[str, str]], asks: list[tuple[str, str]]) -> None:
    value = wire.depth("BTCUSDT", AT, RECEIVED, last_update_id=5, bids=bids, asks=asks)
    validate_event(value)
    assert isinstance(events.decode(value, b"BTCUSDT"), events.OrderBookDepth)
    exact = json.loads(value, parse_float=str)["payload"]
    assert [tuple(level) for level in exact["bids"] + exact["asks"]] == bids + asks


def test_a_ticker_keeps_its_text_and_its_sign() -> None:
    value = wire.ticker(
        "BTCUSDT", AT, RECEIVED, last="61837.64", change_pct="-3.210", high="62000.00", low="58000.10", volume="0.000"
    )
    validate_event(value)
    event = events.decode(value, b"BTCUSDT")
    assert isinstance(event, events.Ticker24h)
    assert event.payload == events.TickerPayload(61837.64, -3.21, 62000.0, 58000.1, 0.0)
    assert json.loads(value, parse_float=Decimal)["payload"]["change_24h_pct"] == Decimal("-3.210")


@pytest.mark.parametrize("error", [-128, -1, 0, 1, 128])
def test_event_times_that_went_through_a_float_are_exact_to_the_millisecond(error: int) -> None:
    value = wire.trade("BTCUSDT", AT + error, AT, price="1", qty="1", side="buy", trade_id="1")
    assert events.decode(value, b"BTCUSDT").ts_event == AT


@given(st.integers(1_600_000_000_000, 1_900_000_000_000))
def test_every_millisecond_survives_a_float(milliseconds: int) -> None:
    through_float = int(milliseconds * 1e6)
    value = wire.trade("BTCUSDT", through_float, AT, price="1", qty="1", side="buy", trade_id="1")
    assert events.decode(value, b"BTCUSDT").ts_event == milliseconds * 1_000_000


@given(st.integers(1_600_000_000_000, 1_900_000_000_000), st.integers(0, 999_999_999))
def test_both_times_are_written_as_everywhere_else(milliseconds: int, nanos: int) -> None:
    received = milliseconds * 1_000_000 // 10**9 * 10**9 + nanos
    value = wire.trade("BTCUSDT", milliseconds * 1_000_000, received, price="1", qty="1", side="buy", trade_id="1")
    body = json.loads(value)
    assert body["ts_event"] == rfc3339.format_nanos(milliseconds * 1_000_000)
    assert body["ts_init"] == rfc3339.format_nanos(received // 1_000 * 1_000)


def test_kinds_name_the_types_of_the_contract() -> None:
    assert {kind.event_type for kind in wire.Kind} == set(events.EVENT_TYPES)
