import json
from collections.abc import Callable

import pytest

from app.stores.base import Reading
from report_server.clocks import Clocks
from report_server.newest import Newest

CATCH_UP_SEC = 2.0
FORGET_SEC = 300.0
CLOCKS = Clocks(lambda: 0.0, lambda: 0)


class Clock:
    """Monotonic seconds, moved by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def answered(clock: Clock) -> Callable[..., tuple[int, int, int]]:
    """Give what is answered of one symbol where the store has a report of this epoch, offset and time."""
    newest = Newest(CATCH_UP_SEC, FORGET_SEC, CLOCKS, clock)

    def answer(epoch: int, offset: int, updated: int) -> tuple[int, int, int]:
        raw = json.dumps(
            {"writer": {"writerToken": epoch}, "provenance": {"offset": offset}, "updatedAt": updated}
        ).encode()
        order = newest.of("BTCUSDT", Reading(raw, 0.0)).order
        assert order is not None
        return order

    return answer


@pytest.mark.parametrize("newer", [(5, 100, 1010), (5, 101, 990), (6, 100, 1000), (6, 200, 900)])
def test_what_goes_on_is_answered_at_once(
    answered: Callable[..., tuple[int, int, int]], newer: tuple[int, int, int]
) -> None:
    answered(5, 100, 1000)
    assert answered(*newer) == newer


@pytest.mark.parametrize("older", [(4, 200, 2000), (5, 99, 2000), (5, 100, 999)])
def test_what_falls_behind_is_not_answered_until_it_would_have_expired(
    answered: Callable[..., tuple[int, int, int]], clock: Clock, older: tuple[int, int, int]
) -> None:
    answered(5, 100, 1000)
    assert answered(*older) == (5, 100, 1000)
    clock.now += FORGET_SEC
    assert answered(*older) == (5, 100, 1000)
    clock.now += 0.001
    assert answered(*older) == older


def test_a_newer_writer_is_waited_for_until_it_has_caught_up(
    answered: Callable[..., tuple[int, int, int]], clock: Clock
) -> None:
    answered(5, 100, 1000)
    assert answered(6, 90, 1100) == (5, 100, 1000)
    clock.now += CATCH_UP_SEC / 2
    assert answered(6, 100, 1200) == (6, 100, 1200)


def test_a_newer_writer_whose_events_are_numbered_anew_is_answered_after_a_while(
    answered: Callable[..., tuple[int, int, int]], clock: Clock
) -> None:
    answered(5, 100, 1000)
    assert answered(6, 1, 1100) == (5, 100, 1000)
    clock.now += CATCH_UP_SEC + 0.001
    assert answered(6, 3, 3200) == (6, 3, 3200)


def test_the_wait_begins_again_with_each_fall(answered: Callable[..., tuple[int, int, int]], clock: Clock) -> None:
    answered(5, 100, 1000)
    answered(5, 90, 900)
    clock.now += FORGET_SEC - 1
    answered(5, 100, 1000)
    assert answered(5, 90, 900) == (5, 100, 1000)
    clock.now += FORGET_SEC - 1
    assert answered(5, 90, 900) == (5, 100, 1000)


def test_a_report_that_does_not_say_its_order_is_answered_as_it_is() -> None:
    newest = Newest(CATCH_UP_SEC, FORGET_SEC, CLOCKS)
    newest.of("BTCUSDT", Reading(b'{"writer":{"writerToken":5},"provenance":{"offset":1},"updatedAt":9}', 0.0))
    assert newest.of("BTCUSDT", Reading(b'{"a":1}', 0.0)).raw == b'{"a":1}'


def test_each_fall_is_counted_once() -> None:
    newest, falls = Newest(CATCH_UP_SEC, FORGET_SEC, CLOCKS), []
    newest.on_fall = lambda: falls.append(1)
    for offset in (10, 9, 9, 8, 10, 9):
        raw = b'{"writer":{"writerToken":5},"provenance":{"offset":%d},"updatedAt":9}' % offset
        newest.of("BTCUSDT", Reading(raw, 0.0))
    assert len(falls) == 2


def test_there_is_a_bound_to_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("report_server.newest._MOST_KEPT", 2)
    newest = Newest(CATCH_UP_SEC, FORGET_SEC, CLOCKS)

    def offset(symbol: str, value: int) -> int:
        raw = b'{"writer":{"writerToken":5},"provenance":{"offset":%d},"updatedAt":9}' % value
        order = newest.of(symbol, Reading(raw, 0.0)).order
        assert order is not None
        return order[1]

    for symbol in ("AA", "BB", "CC"):
        offset(symbol, 10)
    assert [offset(symbol, 9) for symbol in ("CC", "BB", "AA")] == [10, 10, 9]
