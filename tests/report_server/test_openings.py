from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from prometheus_client import Gauge

from report_server.openings import MOST_OF_A_CLIENT, MOST_STREAMS, UPDATES_PER_SEC, Openings, TooManyStreamsError


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_all_clients_together_have_so_many_streams(opened: ExitStack) -> None:
    openings = Openings()
    for number in range(MOST_STREAMS):
        openings.require(f"client {number % 3}")
        opened.enter_context(openings.opened(f"client {number % 3}", 1))
    with pytest.raises(TooManyStreamsError, match=f"this reader has {MOST_STREAMS}"):
        openings.require("another")
    opened.close()
    openings.require("another")


def test_one_client_has_half_of_them(opened: ExitStack) -> None:
    openings = Openings()
    for _ in range(MOST_OF_A_CLIENT):
        openings.require("alice")
        opened.enter_context(openings.opened("alice", 1))
    with pytest.raises(TooManyStreamsError, match=f"you have {MOST_OF_A_CLIENT}"):
        openings.require("alice")
    openings.require("bob")


def test_streams_pause_for_as_long_as_all_of_them_need_for_one_update_of_each_symbol(opened: ExitStack) -> None:
    openings = Openings()
    opened.enter_context(openings.opened("alice", 10))
    assert openings.pause_sec() == 0, "few symbols are told of as soon as they change"
    opened.enter_context(openings.opened("bob", UPDATES_PER_SEC - 10))
    assert openings.pause_sec() == 1
    opened.close()
    assert openings.pause_sec() == 0


def test_the_gauge_shows_how_many_there_are(opened: ExitStack) -> None:
    gauge = Gauge("streams", "", registry=None)
    openings = Openings(gauge)
    opened.enter_context(openings.opened("alice", 3))
    opened.enter_context(openings.opened("bob", 3))
    assert next(iter(gauge.collect())).samples[0].value == 2
    opened.close()
    assert next(iter(gauge.collect())).samples[0].value == 0
