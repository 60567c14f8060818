from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from prometheus_client import Gauge

from report_server.openings import (
    LONGEST_PAUSE_SEC,
    MOST_OF_A_CLIENT,
    MOST_STREAMS,
    UPDATES_PER_SEC,
    Openings,
    TooManyStreamsError,
)


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_all_clients_together_have_so_many_streams(opened: ExitStack) -> None:
    openings = Openings()
    for number in range(MOST_STREAMS):
        openings.require(f"client {number % 3}")
        opened.enter_context(openings.opened(f"client {number % 3}"))
    with pytest.raises(TooManyStreamsError, match=f"this reader has {MOST_STREAMS}"):
        openings.require("another")
    opened.close()
    openings.require("another")


def test_one_client_has_half_of_them(opened: ExitStack) -> None:
    openings = Openings()
    for _ in range(MOST_OF_A_CLIENT):
        openings.require("alice")
        opened.enter_context(openings.opened("alice"))
    with pytest.raises(TooManyStreamsError, match=f"you have {MOST_OF_A_CLIENT}"):
        openings.require("alice")
    openings.require("bob")


def test_a_stream_pauses_for_as_long_as_all_need_for_a_turn_like_its_own(opened: ExitStack) -> None:
    openings = Openings()
    opened.enter_context(openings.opened("alice"))
    assert openings.pause_sec(50) == 0, "few are told as soon as something changes"
    for _ in range(99):
        opened.enter_context(openings.opened("bob"))
    assert openings.pause_sec(50) == 50 * 100 / UPDATES_PER_SEC
    assert openings.pause_sec(0) == 0, "what never changes costs nobody anything"
    assert openings.pause_sec(10**6) == LONGEST_PAUSE_SEC


def test_the_gauge_shows_how_many_there_are(opened: ExitStack) -> None:
    gauge = Gauge("streams", "", registry=None)
    openings = Openings(gauge)
    opened.enter_context(openings.opened("alice"))
    opened.enter_context(openings.opened("bob"))
    assert next(iter(gauge.collect())).samples[0].value == 2
    opened.close()
    assert next(iter(gauge.collect())).samples[0].value == 0
