"""The way of messages by the name of their stream."""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.stream_routes import StreamRoutes

KINDS = ["trade", "bookTicker", "depth@100ms"]


class Taken:
    """What handlers were given: kind, symbol and message."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, str, bytes]] = []
        self.asked_for: list[str] = []
        self.routes = StreamRoutes({kind: self._handler(kind) for kind in KINDS}, self._symbol)

    def _symbol(self, name: str) -> str:
        self.asked_for.append(name)
        return name

    def _handler(self, kind: str) -> Callable[[str, bytes], None]:
        return lambda symbol, raw: self.messages.append((kind, symbol, raw))


def message(stream: str, **data: object) -> bytes:
    return msgspec.json.encode({"stream": stream, "data": data})


@given(st.lists(st.tuples(st.sampled_from(["BTCUSDT", "ETHUSDT", "1INCHUSDT"]), st.sampled_from(KINDS))))
def test_each_message_comes_to_its_handler_with_its_symbol(streams: list[tuple[str, str]]) -> None:
    taken = Taken()
    for symbol, kind in streams:
        taken.routes.take(message(f"{symbol.lower()}@{kind}", u=1))
    assert [(symbol, kind) for kind, symbol, _ in taken.messages] == streams
    assert len(taken.asked_for) == len(set(streams)), "what is kept of a symbol is looked up once for each stream"


def test_the_name_may_stand_anywhere() -> None:
    taken = Taken()
    for raw in (b'{"data":{"stream":"x"},"stream":"btcusdt@trade"}', b'{ "stream": "btcusdt@trade", "data": {} }'):
        taken.routes.take(raw)
        assert taken.messages[-1] == ("trade", "BTCUSDT", raw)


def test_a_symbol_that_was_left_is_passed_over_until_it_comes_back() -> None:
    taken = Taken()
    trade = message("btcusdt@trade")
    taken.routes.take(trade)
    taken.routes.leave("BTCUSDT")
    taken.routes.take(trade)
    taken.routes.take(message("btcusdt@bookTicker"))
    assert len(taken.messages) == 1
    assert taken.routes.has_left("BTCUSDT")
    taken.routes.come_back("BTCUSDT")
    taken.routes.take(trade)
    assert taken.asked_for == ["BTCUSDT", "BTCUSDT"], "what was kept of it is not used any more"
    assert len(taken.messages) == 2


@pytest.mark.parametrize(
    "raw", [b"", b"no JSON", b"{}", message("btcusdt@nosuch"), message(""), b'{"stream":"btcusdt@tra']
)
def test_a_message_of_no_stream_of_ours_is_refused(raw: bytes) -> None:
    taken = Taken()
    for _ in range(2):
        with pytest.raises(ValueError, match=r"stream|JSON|truncated|empty|Input data"):
            taken.routes.take(raw)
    assert taken.messages == []
