"""Streams that end alone, among those of the synthetic market: found where something proves it, and only there."""

import json
import random

import pytest

from producer.exchange.book import Book, Side
from producer.exchange.messages import Message
from producer.exchange.sim import SimMarket
from producer.exchange.units import to_units
from producer.stream_watch import BEST, DIFFS, KINDS, LOOKS, QUIET, TICKER, TOP, TRADES, Silence, StreamWatch

START_NS = 1_700_000_000_000_000_000
SECOND = 1_000_000_000
STREAMS = {f"btcusdt@{kind}" for kind in KINDS}


class Listener:
    """Hands a market's messages to a watch as the client does, and looks once a second."""

    def __init__(self, rate: float, *, shuffled: bool = False) -> None:
        self.market = SimMarket(["BTCUSDT"], seed=5, rate=rate, start_ns=START_NS)
        self.watch = StreamWatch()
        for kind in KINDS:
            self.watch.ready(kind)
        self.lost: set[str] = set()
        self._book = Book.from_depth(self.market.depth("BTCUSDT", 5000))
        self._rng = random.Random(1) if shuffled else None
        self._now_ns = START_NS

    def listen(self, seconds: int) -> list[Silence]:
        found: list[Silence] = []
        for _ in range(seconds):
            for _ in range(5):
                self._now_ns += SECOND // 5
                messages = list(self.market.advance(self._now_ns, STREAMS))
                for message in interleaved(messages, self._rng) if self._rng else messages:
                    self._take(message)
            found += self.watch.look()
        return found

    def _take(self, message: Message) -> None:
        kind = message.stream.partition("@")[2]
        if kind in self.lost:
            return
        data = json.loads(message.payload)
        if kind == TRADES:
            self.watch.on_trade(data["t"], data["E"])
        elif kind == TICKER:
            self.watch.on_ticker(data["L"])
        elif kind == BEST:
            self.watch.on_best(data["u"])
        elif kind == TOP:
            self.watch.on_top(data["lastUpdateId"])
        else:
            self.watch.on_diff(data["u"], data["E"])
            before = self._book.best()
            for side, levels in ((Side.BID, data["b"]), (Side.ASK, data["a"])):
                for price, quantity in levels:
                    self._book.put(side, to_units(price), to_units(quantity))
            if self._book.best() != before:
                self.watch.on_best_moved(data["U"])


def interleaved(messages: list[Message], rng: random.Random) -> list[Message]:
    """Return the messages with each stream in its own order, as two connections would bring them."""
    order = [message.stream for message in messages]
    rng.shuffle(order)
    queues = {stream: iter([it for it in messages if it.stream == stream]) for stream in set(order)}
    return [next(queues[stream]) for stream in order]


@pytest.mark.parametrize("rate", [1, 5, 200])
def test_nothing_is_found_in_a_sound_market_be_it_quiet_or_busy(rate: float) -> None:
    listener = Listener(rate, shuffled=True)
    assert listener.listen(90) == []
    assert listener.watch.ended == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_that_ends_alone_is_found_and_asked_for_again_and_again(kind: str) -> None:
    listener = Listener(50)
    assert listener.listen(5) == []
    listener.lost = {kind}
    found = listener.listen(4 * LOOKS)
    assert found == [Silence(kind, proved=True, first=True), Silence(kind, proved=True)], "pauses grow"
    assert listener.watch.ended == [kind]
    listener.lost = set()
    assert listener.listen(5) == []
    assert listener.watch.ended == []


@pytest.mark.parametrize("left", [{BEST, TRADES}, {TOP}, {TRADES}])
def test_diffs_are_proved_by_best_top_or_trades_each_alone(left: set[str]) -> None:
    listener = Listener(50)
    listener.listen(5)
    listener.lost = {DIFFS, *KINDS} - left
    assert Silence(DIFFS, proved=True, first=True) in listener.listen(2 * LOOKS)


def test_trades_and_ticker_that_end_together_are_asked_for_anew_when_they_have_been_silent_for_long() -> None:
    listener = Listener(20)
    listener.listen(5)
    listener.lost = {TRADES, TICKER}
    assert listener.listen(QUIET - 5) == []
    assert listener.listen(10) == [Silence(TRADES, proved=False), Silence(TICKER, proved=False)]
    assert listener.watch.ended == [], "nothing proves it"
    listener.lost = {TICKER}
    assert Silence(TICKER, proved=True, first=True) in listener.listen(3 * LOOKS), "its trades came back alone"


def test_what_was_before_the_subscription_is_not_owed() -> None:
    watch = StreamWatch()
    for kind in (TRADES, TICKER):
        watch.ready(kind)
    for _ in range(3 * LOOKS):
        watch.on_ticker(1000)  # its last trade was an hour ago
        assert list(watch.look()) == []
    watch.on_ticker(1001)
    assert [list(watch.look()) for _ in range(LOOKS)][-1] == [Silence(TRADES, proved=True, first=True)]


def test_a_lost_connection_is_not_for_this_watch() -> None:
    watch = StreamWatch()
    for kind in (TRADES, TICKER):
        watch.ready(kind)
    watch.on_trade(1, 1)
    watch.on_ticker(1)
    watch.on_ticker(2)
    watch.lost(TRADES)
    assert [silence for _ in range(QUIET - 1) for silence in watch.look()] == []


def test_a_pause_of_ours_is_one_look() -> None:
    watch = StreamWatch()
    for kind in (TRADES, TICKER):
        watch.ready(kind)
    watch.on_trade(1, 1)
    watch.on_ticker(1)
    watch.on_ticker(900)
    assert list(watch.look()) == []
    watch.on_trade(2, 2)
    assert [list(watch.look()) for _ in range(LOOKS)] == [[]] * LOOKS, "what queued up meanwhile begins to come in"


def hear(watch: StreamWatch, number: int, *, but: str = "") -> None:
    """One message of each stream, of ids that go on together."""
    if but != TRADES:
        watch.on_trade(number, number)
    if but != TICKER:
        watch.on_ticker(number)
    if but != BEST:
        watch.on_best(number)
    if but != TOP:
        watch.on_top(number)
    if but != DIFFS:
        watch.on_diff(number, number)
        watch.on_best_moved(number)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_that_ends_after_ids_began_again_is_found(kind: str) -> None:
    watch = StreamWatch()
    for each in KINDS:
        watch.ready(each)
    for number in (*range(10**9, 10**9 + 30), *range(1, 61)):
        hear(watch, number)
    assert list(watch.look()) == []
    found: list[Silence] = []
    for number in range(61, 61 + 2 * LOOKS):
        hear(watch, number, but=kind)
        found += watch.look()
    assert found == [Silence(kind, proved=True, first=True)]


def test_ids_that_began_again_prove_nothing_by_themselves() -> None:
    """Quiet streams owe nothing of the old count."""
    watch = StreamWatch()
    for each in KINDS:
        watch.ready(each)
    for number in (*range(10**9, 10**9 + 30), *range(1, 61)):
        hear(watch, number)
    assert [silence for _ in range(3 * LOOKS) for silence in watch.look()] == []
