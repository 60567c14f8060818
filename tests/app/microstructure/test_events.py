import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.microstructure import rfc3339
from app.microstructure.events import MAX_EVENT_BYTES, BadEventError, OrderBookDeltas, TradeTick, decode
from support.contracts import validate_event

KEY = b"BTCUSDT"


def envelope(kind: str, payload: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "symbol": "BTCUSDT",
        "venue": "BINANCE",
        "type": kind,
        "ts_event": "2024-08-08T23:54:15.342Z",
        "payload": payload,
    } | changes


TRADE = envelope("trade_tick", {"price": 61837.63, "qty": 0.02, "aggressor_side": "sell", "trade_id": 3735683259})
DELTAS = envelope(
    "order_book_deltas",
    {
        "first_update_id": 5,
        "final_update_id": 9,
        "snapshot": False,
        "bids": [[61837.63, 0]],
        "asks": [[61837.64, 2.5]],
    },
)
DEPTH = envelope("order_book_depth", {"last_update_id": 9, "bids": [[1.5, 2]], "asks": []})
TICKER = envelope(
    "ticker_24h",
    {"last_price": 1.5, "change_24h_pct": -3.1, "high_24h": 2, "low_24h": 1, "volume_24h": 0},
)
ALL = [TRADE, DELTAS, DEPTH, TICKER]


def encoded(event: dict[str, Any]) -> bytes:
    return json.dumps(event).encode()


def changed(event: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(event))
    *parents, last = path.split(".")
    target = copy
    for parent in parents:
        target = target[parent]
    target[last] = value
    return copy


@pytest.mark.parametrize("event", ALL, ids=lambda event: event["type"])
def test_each_of_the_four_types_is_decoded(event: dict[str, Any]) -> None:
    validate_event(encoded(event))
    decoded = decode(encoded(event), KEY)
    assert decoded.kind == event["type"]
    assert decoded.ts_event == rfc3339.parse(event["ts_event"])
    assert decoded.ts_init is None


def test_numbers_keep_the_value_of_the_venues_decimal_text() -> None:
    value = encoded(TRADE).replace(b"61837.63", b"61837.63000000")
    trade = decode(value, KEY)
    assert isinstance(trade, TradeTick)
    assert repr(trade.payload.price) == "61837.63"


def test_a_field_that_this_version_does_not_know_is_no_reason_to_refuse() -> None:
    assert decode(encoded(TRADE | {"trace": "abc"}), KEY).kind == "trade_tick"


def test_an_empty_snapshot_is_allowed_because_it_says_that_the_book_is_lost() -> None:
    empty = changed(changed(changed(DELTAS, "payload.snapshot", True), "payload.bids", []), "payload.asks", [])
    event = decode(encoded(empty), KEY)
    assert isinstance(event, OrderBookDeltas)
    assert event.payload.snapshot


@pytest.mark.parametrize(
    ("event", "path", "value"),
    [
        (TRADE, "type", "bar"),
        (TRADE, "symbol", "btcusdt"),
        (TRADE, "venue", ""),
        (TRADE, "ts_event", 1723161255342),
        (TRADE, "ts_event", "yesterday"),
        (TRADE, "ts_event", "1999-08-08T23:54:15.342Z"),
        (TRADE, "ts_init", "2024-08-08T23:54:15.342"),
        (TRADE, "payload", None),
        (TRADE, "payload.price", 0),
        (TRADE, "payload.price", -1.0),
        (TRADE, "payload.price", 1e15),
        (TRADE, "payload.price", "61837.63"),
        (TRADE, "payload.qty", 0),
        (TRADE, "payload.aggressor_side", "BUY"),
        (TRADE, "payload.trade_id", -1),
        (TRADE, "payload.trade_id", 2**63),
        (TRADE, "payload.trade_id", 1.5),
        (DELTAS, "payload.bids", [[1.0]]),
        (DELTAS, "payload.bids", [[1.0, -1.0]]),
        (DELTAS, "payload.snapshot", 1),
        (DEPTH, "payload.bids", [[float(price), 1.0] for price in range(1, 22)]),
        (TICKER, "payload.volume_24h", -1),
    ],
)
def test_an_absurd_field_is_refused_by_decoder_and_schema_alike(event: dict[str, Any], path: str, value: Any) -> None:
    bad = encoded(changed(event, path, value))
    with pytest.raises(BadEventError, match=r"^invalid: "):
        decode(bad, bad and json.loads(bad)["symbol"].encode())
    with pytest.raises(ValueError):  # noqa: PT011
        validate_event(bad)


@pytest.mark.parametrize("event", ALL, ids=lambda event: event["type"])
def test_every_mandatory_field_is_missed(event: dict[str, Any]) -> None:
    for name in ("symbol", "venue", "type", "ts_event", "payload"):
        with pytest.raises(BadEventError, match=r"^invalid: "):
            decode(encoded({k: v for k, v in event.items() if k != name}), KEY)
    for name in event["payload"]:
        payload = {k: v for k, v in event["payload"].items() if k != name}
        with pytest.raises(BadEventError, match=name):
            decode(encoded(event | {"payload": payload}), KEY)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "empty"),
        (b"", "empty"),
        (b"{", "malformed_json"),
        (b"\xff\xfe", "malformed_json"),
        (b"NaN", "malformed_json"),
        (b"[" * 100_000, "invalid"),
        (b"[]", "invalid"),
        (b" " * (MAX_EVENT_BYTES + 1), "oversized"),
    ],
)
def test_rubbish_is_refused_with_a_reason(value: bytes | None, reason: str) -> None:
    with pytest.raises(BadEventError) as caught:
        decode(value, KEY)
    assert caught.value.reason == reason


@pytest.mark.parametrize("key", [None, b"", b"ETHUSDT", b"btcusdt", b"\xff"])
def test_a_record_key_that_is_not_the_symbol_is_refused(key: bytes | None) -> None:
    with pytest.raises(BadEventError) as caught:
        decode(encoded(TRADE), key)
    assert caught.value.reason == "key_mismatch"


def test_update_ids_that_run_backwards_are_refused() -> None:
    with pytest.raises(BadEventError, match="first_update_id is above"):
        decode(encoded(changed(DELTAS, "payload.first_update_id", 10)), KEY)


@given(st.binary(max_size=300))
def test_no_bytes_whatever_raise_anything_else(value: bytes) -> None:
    with pytest.raises(BadEventError):
        decode(value, KEY)


@given(st.sampled_from(ALL), st.integers(0, 400), st.binary(min_size=1, max_size=3))
def test_a_damaged_event_is_refused_or_still_one_of_the_contract(event: dict[str, Any], at: int, damage: bytes) -> None:
    value = encoded(event)
    damaged = value[:at] + damage + value[at + len(damage) :]
    try:
        decoded = decode(damaged, KEY)
    except BadEventError:
        return
    assert decoded.symbol == "BTCUSDT"
