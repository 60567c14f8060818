"""The joining of diffs and snapshots, against a model exchange that knows the true book at every update."""

from collections import deque
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from producer.book_sync import BEHIND_LIMIT, Apply, BookSync, Fetch, Replace, Step, Unknown
from support.examples import examples

PRICES = 5


@dataclass(frozen=True)
class Diff:
    first_update_id: int
    final_update_id: int
    levels: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Snapshot:
    last_update_id: int
    levels: dict[int, int] = field(default_factory=dict)


Steps = list[Step[Diff, Snapshot]]


class Reader:
    """What somebody makes of the steps who believes each of them."""

    def __init__(self) -> None:
        self.book: dict[int, int] | None = None
        self.update_id = 0

    def follow(self, steps: Steps) -> None:
        for step in steps:
            match step:
                case Unknown():
                    self.book = None
                case Replace(snapshot):
                    self.book, self.update_id = dict(snapshot.levels), snapshot.last_update_id
                case Apply(diff):
                    assert self.book is not None, "a diff without a book"
                    assert diff.first_update_id <= self.update_id + 1 <= diff.final_update_id
                    self.book |= diff.levels
                    self.update_id = diff.final_update_id


class Exchange:
    """A book that changes one level at a time, its whole history, and a diff stream."""

    def __init__(self) -> None:
        self.history: list[dict[int, int]] = [dict.fromkeys(range(PRICES), 0)]
        self.published_to = 0

    def change(self, price: int, quantity: int) -> None:
        self.history.append(self.history[-1] | {price: quantity})

    def publish(self) -> Diff:
        first, final = self.published_to + 1, len(self.history) - 1
        changed = {
            price: self.history[final][price]
            for price in range(PRICES)
            if any(self.history[number][price] != self.history[number - 1][price] for number in range(first, final + 1))
        }
        self.published_to = final
        return Diff(first, final, changed)

    def snapshot(self, age: int) -> Snapshot:
        number = max(0, len(self.history) - 1 - age)
        return Snapshot(number, self.history[number])


class LossyMarket(RuleBasedStateMachine):
    """Diffs in order, some lost, some twice; snapshots late or early, new or old; books given up."""

    def __init__(self) -> None:
        super().__init__()
        self.exchange = Exchange()
        self.sync: BookSync[Diff, Snapshot] = BookSync(buffer_limit=4)
        self.reader = Reader()
        self.sent: list[Diff] = []
        self.asked = self.stopped = False
        self.take(self.sync.lose("start"))

    def take(self, steps: Steps) -> None:
        assert steps.count(Fetch()) <= 1
        if Fetch() in steps:
            assert not self.asked, "two resyncs at a time"
            self.asked = True
        self.reader.follow(steps)

    @rule(changes=st.lists(st.tuples(st.integers(0, PRICES - 1), st.integers(0, 3)), min_size=1, max_size=4))
    def book_changes(self, changes: list[tuple[int, int]]) -> None:
        for price, quantity in changes:
            self.exchange.change(price, quantity)

    @precondition(lambda self: len(self.exchange.history) - 1 > self.exchange.published_to)
    @rule(lost=st.sampled_from([False, False, False, True]))
    def diff_is_sent(self, lost: bool) -> None:
        diff = self.exchange.publish()
        if not lost:
            self.sent.append(diff)
            self.take(self.sync.on_diff(diff))

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def diff_comes_again(self, data: st.DataObject) -> None:
        self.take(self.sync.on_diff(data.draw(st.sampled_from(self.sent))))

    @precondition(lambda self: self.asked)
    @rule(age=st.integers(0, 6))
    def snapshot_arrives(self, age: int) -> None:
        self.asked = False
        self.take(self.sync.on_snapshot(self.exchange.snapshot(age)))

    @precondition(lambda self: not self.stopped)
    @rule()
    def book_is_given_up(self) -> None:
        self.take(self.sync.lose("queue_full"))
        assert self.reader.book is None

    @rule()
    def stream_ends(self) -> None:
        self.asked, self.stopped = False, True  # the request under way is ended with it
        self.take(self.sync.stop("disconnect"))
        assert self.reader.book is None
        assert not self.asked

    @precondition(lambda self: self.stopped)
    @rule(missed=st.booleans())
    def stream_begins_again(self, missed: bool) -> None:
        self.stopped = False
        if missed and len(self.exchange.history) - 1 > self.exchange.published_to:
            self.exchange.publish()
        self.take(self.sync.start())

    @invariant()
    def the_book_is_right_or_unknown(self) -> None:
        if self.reader.book is None:
            assert self.sync.update_id is None
            assert self.asked or self.stopped, "nothing would ever bring the book back"
        else:
            assert self.sync.update_id == self.reader.update_id
            assert self.reader.book == self.exchange.history[self.reader.update_id]

    def teardown(self) -> None:
        # Whatever happened: an undisturbed market and snapshots as asked for bring the book back.
        if self.stopped:
            self.stream_begins_again(missed=True)
        self.exchange.change(0, 9)
        for quantity in range(2 * BEHIND_LIMIT):
            self.exchange.change(1, quantity)
            self.take(self.sync.on_diff(self.exchange.publish()))
            if self.asked:
                self.asked = False
                self.take(self.sync.on_snapshot(self.exchange.snapshot(0)))
        assert self.reader.book == self.exchange.history[-1]


TestLossyMarket = LossyMarket.TestCase
TestLossyMarket.settings = settings(max_examples=examples(150), stateful_step_count=40)


def known_at(update_id: int) -> BookSync[Diff, Snapshot]:
    sync: BookSync[Diff, Snapshot] = BookSync()
    sync.lose("start")
    sync.on_snapshot(Snapshot(update_id))
    return sync


def test_the_first_diff_is_the_one_that_contains_the_update_after_the_snapshot() -> None:
    sync: BookSync[Diff, Snapshot] = BookSync()
    diffs = [Diff(1, 4), Diff(5, 8), Diff(9, 12), Diff(13, 13)]
    for diff in diffs:
        assert sync.on_diff(diff) == []
    assert sync.lose("start") == [Unknown("start", 0), Fetch()]
    for diff in diffs:
        sync.on_diff(diff)
    snapshot = Snapshot(6)
    assert sync.on_snapshot(snapshot) == [
        Replace(snapshot, diffs[1]),
        Apply(diffs[1]),
        Apply(diffs[2]),
        Apply(diffs[3]),
    ]
    assert sync.update_id == 13


def test_a_snapshot_older_than_the_first_diff_kept_is_fetched_again() -> None:
    sync: BookSync[Diff, Snapshot] = BookSync()
    sync.lose("start")
    sync.on_diff(Diff(10, 12))
    assert sync.on_snapshot(Snapshot(8)) == [Fetch()]
    assert sync.on_snapshot(Snapshot(9)) == [Replace(Snapshot(9), Diff(10, 12)), Apply(Diff(10, 12))]


def test_a_snapshot_newer_than_every_diff_kept_stands_alone() -> None:
    sync: BookSync[Diff, Snapshot] = BookSync()
    sync.lose("start")
    sync.on_diff(Diff(10, 12))
    assert sync.on_snapshot(Snapshot(20)) == [Replace(Snapshot(20), None)]
    assert sync.on_diff(Diff(13, 20)) == []
    assert sync.on_diff(Diff(21, 21)) == [Apply(Diff(21, 21))]


def test_a_missing_diff_makes_the_book_unknown_at_once_and_the_next_diff_is_kept() -> None:
    sync = known_at(100)
    assert sync.on_diff(Diff(102, 103)) == [Unknown("gap", 100), Fetch()]
    assert sync.on_diff(Diff(104, 105)) == []
    steps = sync.on_snapshot(Snapshot(103))
    assert steps == [Replace(Snapshot(103), Diff(104, 105)), Apply(Diff(104, 105))]


def test_a_second_loss_during_a_resync_asks_for_no_second_snapshot() -> None:
    sync = known_at(100)
    assert sync.lose("reconnect") == [Unknown("reconnect", 100), Fetch()]
    assert sync.lose("queue_full") == [Unknown("queue_full", 100)]


def test_nothing_is_asked_for_between_the_end_of_a_stream_and_its_new_beginning() -> None:
    sync = known_at(100)
    sync.lose("queue_full")
    assert sync.stop("disconnect") == [Unknown("disconnect", 100)]
    assert sync.on_snapshot(Snapshot(120)) == [], "asked for before the stream ended"
    assert sync.on_diff(Diff(150, 152)) == []
    assert sync.start() == [Fetch()]
    assert sync.on_snapshot(Snapshot(151)) == [Replace(Snapshot(151), Diff(150, 152)), Apply(Diff(150, 152))]


def test_a_book_that_begins_is_announced_as_unknown_once() -> None:
    sync: BookSync[Diff, Snapshot] = BookSync()
    assert sync.start() == [Unknown("start", 0), Fetch()]
    assert sync.start() == []


def test_a_gap_among_the_diffs_kept_leaves_only_those_behind_it() -> None:
    sync: BookSync[Diff, Snapshot] = BookSync()
    sync.lose("start")
    sync.on_diff(Diff(1, 5))
    sync.on_diff(Diff(7, 10))
    assert sync.on_snapshot(Snapshot(5)) == [Fetch()]
    assert sync.on_snapshot(Snapshot(6)) == [Replace(Snapshot(6), Diff(7, 10)), Apply(Diff(7, 10))]


def test_no_more_diffs_are_kept_than_allowed() -> None:
    sync: BookSync[Diff, Snapshot] = BookSync(buffer_limit=3)
    sync.lose("start")
    for number in range(1, 11):
        sync.on_diff(Diff(number, number))
    assert sync.on_snapshot(Snapshot(6)) == [Fetch()]
    assert [type(step) for step in sync.on_snapshot(Snapshot(7))] == [Replace, Apply, Apply, Apply]


@pytest.mark.parametrize("kept", [False, True])
def test_an_exchange_that_counts_anew_is_noticed(kept: bool) -> None:
    sync = known_at(1_000_000)
    if kept:
        sync.lose("reconnect")
        sync.on_diff(Diff(1_000_001, 1_000_002))
    asked = deque([kept], maxlen=1)
    for number in range(1, BEHIND_LIMIT + 5):
        steps = sync.on_diff(Diff(number, number))
        asked.append(asked[0] or Fetch() in steps)
    assert asked[0]
    assert isinstance(sync.on_snapshot(Snapshot(BEHIND_LIMIT + 4))[0], Replace)
    assert sync.update_id == BEHIND_LIMIT + 4


@given(st.integers(1, 50), st.integers(0, 49))
def test_a_diff_that_repeats_what_the_book_has_is_applied_for_what_is_new(final: int, update_id: int) -> None:
    sync = known_at(update_id)
    diff = Diff(1, final)
    assert sync.on_diff(diff) == ([Apply(diff)] if final > update_id else [])
