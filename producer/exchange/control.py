"""What a WebSocket client asks for: SUBSCRIBE and its like, one JSON request to one JSON reply, without IO.

Answers and error texts are Binance's ("Live Subscribing/Unsubscribing to streams" in its documentation). Like
Binance, a stream of an unknown symbol is accepted and stays silent; a name that is no stream, or of a kind
that this exchange does not publish, is refused.
"""

import json
import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from producer.exchange.feed import is_stream_name

MAX_STREAMS: Final = 1024
"""Streams of one connection, as on Binance."""

_METHODS: Final = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
_is_text_id: Final = re.compile(r"[A-Za-z0-9_-]{1,36}").fullmatch


class RequestError(Exception):
    """A request that is refused, with the code and text that the client is told."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Subscriptions:
    """The streams of one connection, in the order of their subscription, and how they are wrapped."""

    def __init__(self, streams: Iterable[str], *, combined: bool) -> None:
        self.combined = combined
        self.streams: dict[str, None] = {}
        self._subscribe(list(streams))

    def answer(self, text: str) -> bytes:
        """Carry out one request and return the reply."""
        request_id: Any = msgspec.UNSET
        try:
            request = _parse(text)
            method = _method(request, text)
            request_id = _request_id(request)
            reply = {"result": self._carry_out(method, request.get("params")), "id": request_id}
        except RequestError as error:
            reply = {"error": {"code": error.code, "msg": str(error)}}
            if request_id is not msgspec.UNSET:
                reply["id"] = request_id
        return msgspec.json.encode(reply)

    def _carry_out(self, method: str, params: Any) -> Any:
        if method == "LIST_SUBSCRIPTIONS":
            if params:
                raise RequestError(2, "Invalid request: too many parameters")
            return list(self.streams)
        if not isinstance(params, list):
            raise RequestError(2, "Invalid request: params must be an array")
        if method == "SUBSCRIBE":
            self._subscribe(params)
        elif method == "UNSUBSCRIBE":
            for stream in _stream_names(params):
                self.streams.pop(stream, None)
        elif method == "GET_PROPERTY":
            _property(params, count=1)
            return self.combined
        else:
            self.combined = _property(params, count=2)
        return None

    def _subscribe(self, params: list[Any]) -> None:
        streams = {**self.streams, **dict.fromkeys(_stream_names(params))}
        if len(streams) > MAX_STREAMS:
            raise RequestError(4, "Too many subscriptions")
        self.streams = streams


def _parse(text: str) -> dict[str, Any]:
    try:
        request = json.loads(text)
    except json.JSONDecodeError as error:
        where = f"at line {error.lineno} column {error.colno}"
        raise RequestError(3, f"Invalid JSON: expected value {where}") from None
    except RecursionError:
        raise RequestError(3, "Invalid JSON: recursion limit exceeded") from None
    if not isinstance(request, dict):
        raise RequestError(2, "Invalid request: expected an object")
    return request


def _method(request: dict[str, Any], text: str) -> str:
    method = request.get("method")
    if method is None:
        raise RequestError(2, f"Invalid request: missing field `method` at line 1 column {len(text)}")
    if method not in _METHODS:
        expected = ", ".join(f"`{name}`" for name in _METHODS)
        where = f"at line 1 column {text.find(str(method)) + len(str(method)) + 1}"
        raise RequestError(2, f"Invalid request: unknown variant `{method}`, expected one of {expected} {where}")
    return str(method)


def _request_id(request: dict[str, Any]) -> Any:
    match request.get("id", msgspec.UNSET):
        case None:
            return None
        case int() as number if not isinstance(number, bool) and -(2**63) <= number < 2**63:
            return number
        case str() as name if _is_text_id(name):
            return name
        case _:
            raise RequestError(2, "Invalid request: request ID must be an unsigned integer")


def _stream_names(params: list[Any]) -> list[str]:
    if not all(isinstance(stream, str) and is_stream_name(stream) for stream in params):
        raise RequestError(2, "Invalid request: invalid stream")
    return params


def _property(params: list[Any], count: int) -> bool:
    """Return the value to set the only property, `combined`, to; with one parameter there is none."""
    if not params or not isinstance(params[0], str):
        raise RequestError(2, "Invalid request: property name must be a string")
    if len(params) > count:
        raise RequestError(2, "Invalid request: too many parameters")
    if params[0] != "combined":
        raise RequestError(0, "Unknown property")
    if count == 2 and (len(params) < 2 or not isinstance(params[1], bool)):
        raise RequestError(1, "Invalid value type: expected Boolean")
    return bool(params[-1])
