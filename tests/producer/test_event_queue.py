"""The queue to Kafka: what is in it, and what goes when it is full."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from app.microstructure import events
from producer import wire
from producer.event_queue import EventQueue
from producer.metrics import Metrics
from producer.wire import Kind
from support.examples import examples

BTC, ETH = "BTCUSDT", "ETHUSDT"
MS = 1_000_000
START = 1_700_000_000_000 * MS


def trade(symbol: str, number: int) -> bytes:
    return wire.trade(symbol, START + number * MS, START, price="1", qty="1", side="buy", trade_id=str(number))


def book(symbol: str, first: int, final: int, *, snapshot: bool = False, known: bool = True) -> bytes:
    bids = [("1", "1")] if known else []
    at = START + final * MS
    return wire.deltas(
        symbol,
        at,
        START,
        first_update_id=first,
        final_update_id=final,
        snapshot=snapshot,
        bids=bids,
        asks=[],
    )


def top(symbol: str, update_id: int) -> bytes:
    return wire.depth(symbol, START + update_id * MS, START, last_update_id=update_id, bids=[], asks=[])


def read(queue: EventQueue) -> list[events.Event]:
    """Return what waits, of all lanes."""
    return [events.decode(record.event, record.key) for lane in queue.lanes for record in lane.records]


def said(queue: EventQueue, symbol: str = BTC) -> list[str]:
    """Return what waits of a symbol, in short."""
    found = []
    for event in read(queue):
        if event.symbol != symbol:
            continue
        match event:
            case events.TradeTick(payload=payload):
                found.append(f"trade {payload.trade_id}")
            case events.OrderBookDeltas(payload=payload):
                known = bool(payload.bids or payload.asks)
                kind = ("snapshot" if known else "unknown") if payload.snapshot else "diff"
                found.append(f"{kind} {payload.final_update_id}")
            case events.OrderBookDepth(payload=payload):
                found.append(f"top {payload.last_update_id}")
    return found


def queue_of(limit: int) -> EventQueue:
    return EventQueue(limit, Metrics())


def test_a_diff_that_finds_no_room_costs_its_symbols_book_and_leaves_word_where_it_broke_off() -> None:
    queue = queue_of(5)
    queue.put(BTC, Kind.TRADE, trade(BTC, 1), 0.0)
    queue.put(BTC, Kind.DIFF, book(BTC, 11, 12), 0.0)
    queue.put(ETH, Kind.DIFF, book(ETH, 71, 72), 0.0)
    queue.put(BTC, Kind.TRADE, trade(BTC, 2), 0.0)
    queue.put(BTC, Kind.DEPTH, top(BTC, 12), 0.0)
    queue.put(BTC, Kind.DIFF, book(BTC, 13, 15), 0.0)
    assert said(queue) == ["trade 1", "unknown 10", "trade 2"]
    assert said(queue, ETH) == ["diff 72"]
    assert queue.waiting == 4
    queue.put(BTC, Kind.DIFF, book(BTC, 16, 17), 0.0)
    assert said(queue) == ["trade 1", "unknown 10", "trade 2"]
    queue.put(BTC, Kind.SNAPSHOT, book(BTC, 20, 20, snapshot=True), 0.0)
    assert said(queue)[-1] == "snapshot 20"


def test_word_that_a_book_broke_off_is_left_even_where_nothing_of_it_waits() -> None:
    queue = queue_of(2)
    for number in (1, 2):
        queue.put(BTC, Kind.TRADE, trade(BTC, number), 0.0)
    queue.put(BTC, Kind.DIFF, book(BTC, 11, 12), 0.0)
    assert said(queue) == ["trade 1", "trade 2", "unknown 10"]
    (event,) = [event for event in read(queue) if isinstance(event, events.OrderBookDeltas)]
    assert event.ts_event == START + 12 * MS


def test_trades_wait_as_long_as_there_is_a_book_to_give_up() -> None:
    queue = queue_of(6)
    for number in range(1, 4):
        queue.put(BTC, Kind.DIFF, book(BTC, number, number), 0.0)
    for number in range(1, 3):
        queue.put(ETH, Kind.DIFF, book(ETH, number, number), 0.0)
    for number in range(1, 20):
        queue.put(ETH, Kind.TRADE, trade(ETH, number), 0.0)
    assert said(queue, BTC) == ["unknown 0"]
    assert said(queue, ETH) == ["unknown 0", "trade 1", "trade 2", "trade 3", "trade 4"]


def test_a_book_of_which_only_top_20s_wait_is_not_known_once_they_make_room() -> None:
    queue = queue_of(4)
    queue.put(BTC, Kind.DEPTH, top(BTC, 11), 0.0)
    queue.put(BTC, Kind.DEPTH, top(BTC, 12), 0.0)
    for number in range(1, 4):
        queue.put(BTC, Kind.TRADE, trade(BTC, number), 0.0)
    assert said(queue) == ["unknown 11", "trade 1", "trade 2", "trade 3"]
    assert queue.waiting == 4
    queue.put(BTC, Kind.DIFF, book(BTC, 13, 13), 0.0)
    assert said(queue) == ["unknown 11", "trade 1", "trade 2", "trade 3"], "the diffs that follow are turned away"
    (event,) = [event for event in read(queue) if isinstance(event, events.OrderBookDeltas)]
    assert event.ts_event == START + 11 * MS


def test_what_is_on_its_way_is_left_alone() -> None:
    queue = queue_of(3)
    for number in range(1, 4):
        queue.put(BTC, Kind.DIFF, book(BTC, number, number), 0.0)
    (lane,) = queue.lanes
    lane.sending = 2
    queue.put(BTC, Kind.DIFF, book(BTC, 4, 4), 0.0)
    assert said(queue) == ["diff 1", "diff 2", "unknown 2"]
    assert queue.acknowledged(lane, 2) == {BTC}
    assert said(queue) == ["unknown 2"]
    assert queue.waiting == 1


def test_the_oldest_event_tells_how_long_things_wait() -> None:
    queue = queue_of(10)
    assert queue.oldest() is None
    queue.put(BTC, Kind.TRADE, trade(BTC, 1), 5.0)
    queue.put(BTC, Kind.TRADE, trade(BTC, 2), 6.0)
    assert queue.oldest() == 5.0
    queue.acknowledged(queue.lanes[0], 2)
    assert queue.oldest() is None
    assert queue.empty.is_set()


def test_not_known_in_place_of_a_snapshot_keeps_its_id() -> None:
    was = book(BTC, 20, 20, snapshot=True)
    now = wire.not_known(was)
    assert msgspec.json.decode(now)["payload"] == {
        "first_update_id": 20, "final_update_id": 20, "snapshot": True, "bids": [], "asks": [],
    }  # fmt: skip
    assert msgspec.json.decode(now)["ts_event"] == msgspec.json.decode(was)["ts_event"]


class Reader:
    """A worker: follows one symbol's events and insists that nothing was lost without a word."""

    def __init__(self) -> None:
        self.book_id: int | None = None
        self.trades: list[int] = []

    def take(self, event: events.Event) -> None:
        match event:
            case events.TradeTick(payload=payload):
                self.trades.append(payload.trade_id)
            case events.OrderBookDeltas(payload=payload):
                if payload.snapshot:
                    self.book_id = payload.final_update_id if payload.bids else None
                elif self.book_id is not None:
                    assert payload.first_update_id == self.book_id + 1, "a diff went missing without a word"
                    self.book_id = payload.final_update_id


class Play:
    """A queue of few places, a client that fetches books anew, and a reader of what was sent."""

    def __init__(self, limit: int) -> None:
        self.queue = queue_of(limit)
        self.readers = {symbol: Reader() for symbol in (BTC, ETH)}
        self.newest = dict.fromkeys((BTC, ETH), 0)
        self.trades = 0
        for symbol in (BTC, ETH):
            self.fetch_anew(symbol)

    def fetch_anew(self, symbol: str) -> None:
        self.newest[symbol] += 5
        for known in (False, True):
            event = book(symbol, self.newest[symbol], self.newest[symbol], snapshot=True, known=known)
            self.queue.put(symbol, Kind.SNAPSHOT, event, 0.0)

    def trade(self, symbol: str) -> None:
        self.trades += 1
        self.queue.put(symbol, Kind.TRADE, trade(symbol, self.trades), 0.0)

    def diff(self, symbol: str) -> None:
        self.newest[symbol] += 1
        self.queue.put(symbol, Kind.DIFF, book(symbol, self.newest[symbol], self.newest[symbol]), 0.0)

    def depth(self, symbol: str) -> None:
        self.queue.put(symbol, Kind.DEPTH, top(symbol, self.newest[symbol]), 0.0)

    def send(self, _: str) -> None:
        for lane in self.queue.lanes:
            lane.sending = max(lane.sending, min(2, len(lane.records)))

    def acknowledge(self, _: str) -> None:
        for lane in self.queue.lanes:
            for record in list(lane.records)[: lane.sending]:
                self.readers[record.key.decode()].take(events.decode(record.event, record.key))
            for symbol in self.queue.acknowledged(lane, lane.sending):
                told = self.readers[symbol].book_id is None
                assert told or any("unknown" in each for each in said(self.queue, symbol)), "lost without a word"
                self.fetch_anew(symbol)

    def spread(self, _: str) -> None:
        self.queue.spread(3)


steps = st.tuples(
    st.sampled_from(["trade", "diff", "depth", "send", "acknowledge", "spread"]), st.sampled_from([BTC, ETH])
)


@settings(max_examples=examples(200))
@given(st.lists(steps, max_size=150), st.integers(3, 12))
def test_no_reader_ever_meets_a_hole_that_is_not_told(steps: list[tuple[str, str]], limit: int) -> None:
    play = Play(limit)
    for step, symbol in steps:
        getattr(play, step)(symbol)
        assert play.queue.waiting == sum(len(lane.records) for lane in play.queue.lanes)
        assert play.queue.waiting <= limit + 2
    while play.queue.waiting:
        play.send("")
        play.acknowledge("")
    for symbol, reader in play.readers.items():
        assert reader.book_id == play.newest[symbol], "every book comes back"
        assert reader.trades == sorted(reader.trades)


def test_the_lanes_that_symbols_use_are_counted() -> None:
    queue = EventQueue(1000, Metrics())
    symbols = [f"S{number:03d}USDT" for number in range(50)]
    for number, symbol in enumerate(symbols):
        queue.put(symbol, Kind.TRADE, trade(symbol, number), 0.0)
    assert queue.used == 1, "it is not known yet how many there are"
    queue.spread(32)
    assert queue.used == sum(bool(lane.records) for lane in queue.lanes) > 16
    two = EventQueue(1000, Metrics())
    two.spread(32)
    for symbol in symbols[:2] * 5:
        two.put(symbol, Kind.TRADE, trade(symbol, 1), 0.0)
    assert two.used <= 2
