import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.exchange.control import MAX_STREAMS, Subscriptions

METHODS = ["SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY"]
BAD_ID = "Invalid request: request ID must be an unsigned integer"
UNKNOWN_METHOD = (
    "Invalid request: unknown variant `subscribe`, expected one of `SUBSCRIBE`, `UNSUBSCRIBE`,"
    " `LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, `GET_PROPERTY` at line 1 column 22"
)
TOO_MANY = [f"s{n}usdt@trade" for n in range(MAX_STREAMS + 1)]

any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["method", "params", "id"]) | st.text(), inner),
)
near_requests = st.fixed_dictionaries(
    {
        "method": st.sampled_from(METHODS),
        "params": st.lists(st.text() | st.booleans() | st.just("combined")),
        "id": st.integers(),
    }
)


def ask(subscriptions: Subscriptions, request: Any) -> Any:
    text = request if isinstance(request, str) else json.dumps(request)
    return json.loads(subscriptions.answer(text))


def test_streams_are_subscribed_listed_and_unsubscribed() -> None:
    subscriptions = Subscriptions(["btcusdt@trade"], combined=True)
    more = ["btcusdt@depth@100ms", "btcusdt@bookTicker", "btcusdt@trade"]
    assert ask(subscriptions, {"method": "SUBSCRIBE", "params": more, "id": 0}) == {"result": None, "id": 0}
    assert ask(subscriptions, {"method": "LIST_SUBSCRIPTIONS", "id": 3}) == {
        "result": ["btcusdt@trade", "btcusdt@depth@100ms", "btcusdt@bookTicker"],
        "id": 3,
    }
    away = ["btcusdt@trade", "ethusdt@trade"]
    assert ask(subscriptions, {"method": "UNSUBSCRIBE", "params": away, "id": 4}) == {"result": None, "id": 4}
    assert list(subscriptions.streams) == ["btcusdt@depth@100ms", "btcusdt@bookTicker"]


def test_the_combined_property_is_read_and_set() -> None:
    subscriptions = Subscriptions([], combined=False)
    read = {"method": "GET_PROPERTY", "params": ["combined"], "id": 1}
    assert ask(subscriptions, read) == {"result": False, "id": 1}
    assert ask(subscriptions, {"method": "SET_PROPERTY", "params": ["combined", True], "id": 2})["result"] is None
    assert ask(subscriptions, read) == {"result": True, "id": 1}


@pytest.mark.parametrize(
    ("request_text", "code", "message"),
    [
        ("nonsense", 3, "Invalid JSON: expected value at line 1 column 1"),
        ('{"id": 7}', 2, "Invalid request: missing field `method` at line 1 column 9"),
        ('{"method": "subscribe", "id": 7}', 2, UNKNOWN_METHOD),
        ('{"method": "SUBSCRIBE", "params": ["btcusdt@trade"]}', 2, BAD_ID),
        ('{"method": "SUBSCRIBE", "params": ["btcusdt@trade"], "id": 1.5}', 2, BAD_ID),
        ('{"method": "SUBSCRIBE", "params": ["btcusdt@trade"], "id": true}', 2, BAD_ID),
        ("[1, 2]", 2, "Invalid request: expected an object"),
    ],
)
def test_a_request_that_cannot_be_told_apart_is_refused_without_an_id(
    request_text: str, code: int, message: str
) -> None:
    assert ask(Subscriptions([], combined=True), request_text) == {"error": {"code": code, "msg": message}}


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({"method": "SUBSCRIBE", "params": ["btcusdt@nothing"]}, 2, "Invalid request: invalid stream"),
        ({"method": "SUBSCRIBE", "params": [7]}, 2, "Invalid request: invalid stream"),
        ({"method": "SUBSCRIBE", "params": "btcusdt@trade"}, 2, "Invalid request: params must be an array"),
        ({"method": "SUBSCRIBE"}, 2, "Invalid request: params must be an array"),
        ({"method": "LIST_SUBSCRIPTIONS", "params": ["x"]}, 2, "Invalid request: too many parameters"),
        ({"method": "GET_PROPERTY", "params": []}, 2, "Invalid request: property name must be a string"),
        ({"method": "GET_PROPERTY", "params": ["combined", 1]}, 2, "Invalid request: too many parameters"),
        ({"method": "GET_PROPERTY", "params": ["colour"]}, 0, "Unknown property"),
        ({"method": "SET_PROPERTY", "params": ["combined"]}, 1, "Invalid value type: expected Boolean"),
        ({"method": "SET_PROPERTY", "params": ["combined", 1]}, 1, "Invalid value type: expected Boolean"),
        ({"method": "SUBSCRIBE", "params": TOO_MANY}, 4, "Too many subscriptions"),
    ],
)
def test_a_refused_request_changes_nothing_and_keeps_its_id(body: dict[str, Any], code: int, message: str) -> None:
    subscriptions = Subscriptions(["btcusdt@trade"], combined=True)
    assert ask(subscriptions, {**body, "id": 9}) == {"error": {"code": code, "msg": message}, "id": 9}
    assert (list(subscriptions.streams), subscriptions.combined) == (["btcusdt@trade"], True)


@pytest.mark.parametrize("request_id", [0, -1, 2**63 - 1, "a1-b2", None])
def test_every_kind_of_id_that_binance_allows_comes_back(request_id: Any) -> None:
    reply = ask(Subscriptions([], combined=True), {"method": "LIST_SUBSCRIPTIONS", "id": request_id})
    assert reply == {"result": [], "id": request_id}


@given(st.one_of(st.text(), any_json.map(json.dumps), near_requests.map(json.dumps)))
def test_whatever_is_sent_there_is_one_well_formed_reply(text: str) -> None:
    reply = json.loads(Subscriptions([], combined=True).answer(text))
    assert ("result" in reply) != ("error" in reply)
