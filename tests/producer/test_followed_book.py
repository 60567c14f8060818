"""One symbol's book, from messages to what is sent on; only the exchange's answers are made up."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import msgspec
import pytest
from nautilus_trader.model.data import OrderBookDeltas
from nautilus_trader.model.identifiers import InstrumentId

from producer import messages
from producer.followed_book import Change, FollowedBook, Surroundings, Whole
from producer.metrics import Metrics
from producer.stream_watch import BEST, LOOKS, TOP
from producer.timing import Timing
from producer.wire import TextLevel

Until = Callable[..., Awaitable[None]]

BTCUSDT = InstrumentId.from_str("BTCUSDT.BINANCE")
TIMING = Timing(first_diff=0.05, snapshot_first=0.01, snapshot_longest=0.02, behind=0.05)


class Followed:
    """A book with bids from 99 down and asks from 101 up, and what became of it."""

    def __init__(self) -> None:
        self.sent: list[OrderBookDeltas] = []
        self.snapshots = [100]
        self.error: Exception | None = None
        self.metrics = Metrics()
        self.send_fails = False
        around = Surroundings(self.send, self.fetch, time.time_ns, self.metrics, TIMING)
        self.book = FollowedBook("BTCUSDT", BTCUSDT, around)

    def send(self, deltas: OrderBookDeltas) -> None:
        if self.send_fails:
            self.send_fails = False
            raise ZeroDivisionError
        self.sent.append(deltas)

    async def fetch(self, symbol: str) -> Whole | None:
        assert symbol == "BTCUSDT"
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        if not self.snapshots:
            return None
        return Whole(self.snapshots.pop(0), messages.orders([("99", "1"), ("98", "1")], [("101", "1")]), 0)

    def diff(self, first: int, final: int, bids: list[TextLevel] | None = None) -> None:
        deltas = messages.change(BTCUSDT, messages.orders(bids or [], []), final, 1, 1)
        self.book.on_diff(Change(first, final, 1, deltas))

    def ticker(self, update_id: int, bid: str, quantity: str = "1") -> None:
        told = {"b": bid, "B": quantity, "a": "101", "A": "1"}
        self.book.on_ticker(update_id, msgspec.json.encode({"stream": "btcusdt@bookTicker", "data": told}))

    def said(self) -> list[tuple[str, int]]:
        """What was sent on, in short."""
        found = []
        for deltas in self.sent:
            names = [delta.action.name for delta in deltas.deltas]
            kind = "unknown" if names == ["CLEAR"] else "snapshot" if names[0] == "CLEAR" else "diff"
            found.append((kind, deltas.sequence))
        return found

    def reasons(self) -> dict[str, float]:
        samples = [sample for family in self.metrics.registry.collect() for sample in family.samples]
        return {
            sample.labels["reason"]: sample.value
            for sample in samples
            if sample.name == "context8_producer_resyncs_total"
        }


@pytest.fixture
async def followed(until: Until) -> Followed:
    followed = Followed()
    followed.book.stream_ready()
    await until(lambda: followed.book.update_id == 100)
    followed.sent.clear()
    return followed


async def test_a_diff_that_crosses_the_book_is_not_sent_and_the_book_is_fetched_anew(
    followed: Followed, until: Until
) -> None:
    followed.snapshots = [102]
    followed.diff(101, 102, [("101", "1")])
    assert followed.said() == [("unknown", 102)]
    await until(lambda: followed.book.update_id == 102)
    assert followed.reasons() == {"start": 1, "crossed": 1}


async def test_a_best_bid_that_differs_three_times_in_a_row_costs_the_book(followed: Followed, until: Until) -> None:
    followed.snapshots = [103]
    followed.ticker(101, "99.5")
    for update_id in (101, 102):
        followed.diff(update_id, update_id, [("97", str(update_id))])
        followed.ticker(update_id + 1, "99.5")
        assert followed.book.update_id == update_id
    followed.diff(103, 103, [("97", "5")])
    assert followed.said()[-1] == ("unknown", 103)
    await until(lambda: followed.book.update_id == 103)
    assert followed.reasons() == {"start": 1, "mismatch": 1}
    assert (followed.book.truth.compared, followed.book.truth.equal) == (4, 0), "the snapshot is compared too"


async def test_a_best_bid_that_is_no_number_is_counted_and_compared_with_nothing(followed: Followed) -> None:
    followed.ticker(101, "99.x")
    followed.diff(101, 101, [("97", "5")])
    assert followed.book.truth.compared == 0
    assert followed.book.update_id == 101
    labels = {"component": "producer.client", "type": "ValueError"}
    assert followed.metrics.registry.get_sample_value("context8_errors_total", labels) == 1


async def test_a_mismatch_that_comes_again_and_again_does_not_storm_the_exchange(
    followed: Followed, until: Until
) -> None:
    followed.snapshots = list(range(1, 100))
    update_id = 100

    async def differ() -> None:
        nonlocal update_id
        while True:
            update_id += 1
            followed.snapshots = [update_id]
            followed.ticker(update_id, "99.5")
            followed.diff(update_id, update_id, [("97", str(update_id))])
            await asyncio.sleep(0)

    differing = asyncio.create_task(differ())
    await until(lambda: followed.reasons().get("mismatch", 0) >= 4)
    differing.cancel()
    assert next(followed.book._pauses) > TIMING.snapshot_longest / 2, "pauses have grown"


async def test_a_book_that_the_best_bid_and_ask_leave_behind_is_unknown_until_diffs_come_again(
    followed: Followed, until: Until
) -> None:
    followed.snapshots = [110]
    followed.ticker(101, "99")
    assert followed.said() == []
    await asyncio.sleep(TIMING.behind * 1.2)  # time itself is what is tested
    followed.ticker(102, "99")
    assert followed.said() == [("unknown", 100)]
    await asyncio.sleep(TIMING.first_diff * 1.2)
    assert followed.snapshots == [110], "without diffs a snapshot would be out of date at once"
    followed.diff(108, 112, [("97", "5")])
    await until(lambda: followed.book.update_id == 112)
    assert followed.said() == [("unknown", 100), ("snapshot", 110), ("diff", 112)]
    assert followed.reasons() == {"start": 1, "behind": 1}


async def test_a_stream_that_ends_and_begins_again(followed: Followed, until: Until) -> None:
    followed.book.stream_lost()
    followed.book.stream_lost()
    assert followed.said() == [("unknown", 100)], "said once"
    followed.snapshots = [200]
    followed.book.stream_ready()
    await until(lambda: followed.book.update_id == 200)
    assert followed.said() == [("unknown", 100), ("snapshot", 200)]


async def test_a_mistake_of_ours_while_fetching_is_counted_and_the_book_fetched_later(
    followed: Followed, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    followed.error = ZeroDivisionError()
    followed.snapshots = [101]
    followed.book.resync("queue_full")
    await until(lambda: "book of BTCUSDT not fetched" in caplog.text)
    followed.diff(101, 101, [("97", "5")])
    await until(lambda: followed.book.update_id == 101)
    assert followed.reasons()["error"] == 1


async def test_a_diff_that_could_not_be_sent_on_costs_the_book(followed: Followed, until: Until) -> None:
    followed.snapshots = [102]
    followed.send_fails = True
    with pytest.raises(ZeroDivisionError):
        followed.diff(101, 101, [("97", "5")])
    assert followed.said() == [("unknown", 101)]
    followed.diff(102, 102, [("97", "6")])
    await until(lambda: followed.book.update_id == 102)
    assert followed.said() == [("unknown", 101), ("snapshot", 102)]


async def test_a_book_that_is_closed_says_nothing_more(followed: Followed) -> None:
    followed.book.resync("queue_full")
    followed.book.close()
    followed.book.resync("queue_full")
    await asyncio.sleep(TIMING.snapshot_longest)
    assert followed.said() == [("unknown", 100)]


async def test_diffs_that_others_prove_to_have_ended_cost_the_book_once(followed: Followed, until: Until) -> None:
    followed.snapshots = [110]
    followed.book.left_behind()
    followed.book.left_behind()
    assert followed.said() == [("unknown", 100)]
    followed.diff(108, 112, [("97", "5")])
    await until(lambda: followed.book.update_id == 112)
    assert followed.reasons() == {"start": 1, "behind": 1}


async def test_only_a_diff_that_moves_the_best_proves_that_it_was_told(followed: Followed) -> None:
    for kind in (BEST, TOP):
        followed.book.watch.ready(kind)
    followed.book.watch.on_top(100)
    followed.ticker(100, "99")

    def ended() -> list[str]:
        for _ in range(LOOKS + 1):
            list(followed.book.watch.look())
        return followed.book.watch.ended

    followed.diff(101, 104, [("97", "5")])
    assert ended() == []
    followed.diff(105, 108, [("99", "5")])
    assert ended() == [BEST, TOP]
    followed.ticker(106, "99", "5")
    followed.book.watch.on_top(108)
    assert ended() == []


async def test_update_ids_that_begin_again_cost_the_book_once_and_are_compared_again(
    followed: Followed, until: Until
) -> None:
    followed.snapshots = [1030]
    followed.ticker(10**9, "99")
    followed.diff(101, 10**9)
    for update_id in range(1001, 1031):
        followed.ticker(update_id, "99")
    assert followed.said() == [("unknown", 10**9)], "the diff changed no level"
    await until(lambda: followed.book.update_id == 1030)
    compared = followed.book.truth.compared
    followed.diff(1031, 1032)
    followed.ticker(1032, "99")
    assert followed.book.truth.compared > compared
    assert followed.reasons() == {"start": 1, "ids_behind": 1}
    labels = {"symbol": "BTCUSDT", "ids": "update"}
    assert followed.metrics.registry.get_sample_value("context8_producer_ids_began_again_total", labels) == 1


async def test_tickers_of_an_old_count_are_forgotten_when_diffs_begin_again(followed: Followed, until: Until) -> None:
    followed.snapshots = [21]
    followed.ticker(10**9, "99")
    followed.diff(101, 10**9)
    for update_id in range(1, 22):
        followed.diff(update_id, update_id)
    await until(lambda: followed.book.update_id == 21)
    compared = followed.book.truth.compared
    followed.diff(22, 23, [("97", "1")])
    followed.ticker(23, "99")
    assert followed.book.truth.compared == compared + 1
