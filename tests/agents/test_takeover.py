"""Two workers, one partition, and anything that can go wrong between them: nothing is lost or counted twice.

The group, the log, the changelog and Redis are played by a few lines each, as strict and as lax as the real ones: the
group takes a commit from whoever is a member of its generation and does not ask what of; the changelog takes writes
from anybody; Redis compares epochs. Hypothesis looks for an order of events that breaks a promise.
"""

import asyncio
from collections.abc import Collection, Coroutine, Iterable, Mapping
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from agents.checkpoints import Checkpoints
from agents.intake import Intake
from agents.owned import Owned
from agents.ownership import Ownership
from agents.restoring import PartitionLog
from app.membership import Membership
from app.microstructure.engine import EngineParams, SymbolEngine
from app.stores.memory import MemoryReportStore
from support.examples import examples
from support.markets import START, trade
from support.records import Steps, event_bytes, record
from tables.records import SymbolRecords, read

PARAMS = EngineParams()
SYMBOLS = ("AAAUSDT", "BBBUSDT")
EVENTS = [
    trade(number, 100.0 + number % 7, at=START + number, symbol=SYMBOLS[number % 3 // 2]) for number in range(400)
]
LOG = [record(event_bytes(event), offset, key=event.symbol.encode()) for offset, event in enumerate(EVENTS)]


def now[T](work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that waits for nothing."""
    with asyncio.Runner() as runner:
        return runner.run(work)


class Cluster:
    """What both workers share. `table` is the changelog's newest value of each key, `commit` the group's offset."""

    def __init__(self) -> None:
        self.table: dict[bytes, bytes] = {}
        self.store = MemoryReportStore(300, now=lambda: 0.0)
        self.commit: int | None = None
        self.generation = 0
        self.owner: Membership | None = None
        self.log_end = 1


class Worker:
    """The parts of a worker that decide, wired as app.main wires them. What it knows of the group may be old."""

    def __init__(self, name: str, cluster: Cluster) -> None:
        self.name = name
        self.cluster = cluster
        self.lives = 0
        self.start()

    def start(self) -> None:
        self.lives += 1
        self.owned = Owned(self.name + str(self.lives))
        self.position = 0
        self.unsent: list[tuple[bytes, bytes | None]] = []
        self.ownership = Ownership(self.owned, PARAMS, self.load, self.write, self.cluster.store)
        self.checkpoints = Checkpoints(self.owned, self, self.take_commit, coverage_sec=0.0)
        self.intake = Intake(self.owned, PARAMS, 1, lambda *_: None, Steps())

    @property
    def member_id(self) -> str:
        return f"{self.name}/{self.lives}"

    def load(self, _: int, version: int, log: str | None) -> dict[str, SymbolRecords]:
        return read(self.cluster.table.items(), version, log)

    async def write(self, _: int, values: Mapping[bytes, bytes]) -> None:
        self.cluster.table.update(values)

    async def delete(self, _: int, keys: Iterable[bytes]) -> None:
        for key in keys:
            self.cluster.table.pop(key, None)

    async def take_commit(self, offsets: Mapping[int, int], confirm: Collection[int]) -> bool:
        if self.owned.membership is None or self.owned.membership != self.cluster.owner:
            return False
        committed = self.cluster.commit or 0
        if confirm or offsets[0] > committed:
            self.cluster.commit = max(committed, offsets[0])
            return True
        return False

    def process(self, count: int) -> None:
        if not self.owned.partitions:
            return
        batch = LOG[self.position : min(self.position + count, self.cluster.log_end)]
        if batch:
            self.intake.take(batch)
            self.position += len(batch)

    def take_over(self) -> None:
        """What a rebalance does: assign, then seek to where the states go on."""
        assert self.cluster.owner is not None
        self.go_on_as(self.cluster.owner)

    def go_on_as(self, membership: Membership) -> None:
        here = PartitionLog("log", 0, self.cluster.log_end, self.cluster.commit)
        self.position = self.ownership.assign({0: here}, membership)[0]


class Takeovers(RuleBasedStateMachine):
    """Rules are what may happen, in any order."""

    @initialize()
    def begin(self) -> None:
        self.cluster = Cluster()
        self.workers = [Worker("a", self.cluster), Worker("b", self.cluster)]
        self.published: dict[str, tuple[int, int]] = {}

    @rule(count=st.integers(1, 20))
    def events_come(self, count: int) -> None:
        self.cluster.log_end = min(len(LOG), self.cluster.log_end + count)

    @rule(which=st.integers(0, 1), expelled=st.booleans())
    def group_gives_the_partition_to(self, which: int, expelled: bool) -> None:
        """The other one may not know. One that was expelled meanwhile comes back as another member."""
        worker = self.workers[which]
        self.cluster.generation += 1
        worker.lives += expelled
        self.cluster.owner = Membership(worker.member_id, self.cluster.generation)
        worker.take_over()

    @rule(which=st.integers(0, 1), count=st.integers(1, 30))
    def processes(self, which: int, count: int) -> None:
        self.workers[which].process(count)

    @rule(which=st.integers(0, 1))
    def takes_epochs(self, which: int) -> None:
        now(self.workers[which].ownership.take_epochs())

    @rule(which=st.integers(0, 1))
    def takes_a_checkpoint(self, which: int) -> None:
        """Also one that lost the partition and does not know it."""
        now(self.workers[which].checkpoints.run())

    @rule(which=st.integers(0, 1), count=st.integers(1, 30), more=st.integers(0, 30))
    def works_as_usual(self, which: int, count: int, more: int) -> None:
        """Epochs, events, a checkpoint, and events that it does not cover."""
        self.events_come(count + more)
        self.processes(which, count)
        self.takes_epochs(which)
        self.takes_a_checkpoint(which)
        self.processes(which, more)

    @rule(which=st.integers(0, 1), counts=st.lists(st.integers(1, 4), min_size=1, max_size=4))
    def saves_nothing_yet(self, which: int, counts: list[int]) -> None:
        """Batches in which symbols appear one after the other, and epochs before any snapshot."""
        for count in counts:
            self.events_come(count)
            self.processes(which, count)
        self.takes_epochs(which)

    @rule(which=st.integers(0, 1))
    def dies_and_starts_again(self, which: int) -> None:
        self.workers[which].start()

    @rule()
    def redis_is_emptied(self) -> None:
        fresh = MemoryReportStore(300, now=lambda: 0.0)
        self.cluster.store = fresh
        for worker in self.workers:
            worker.ownership._store = fresh

    @rule(which=st.integers(0, 1), symbol=st.sampled_from(SYMBOLS))
    def a_publish_is_refused(self, which: int, symbol: str) -> None:
        owned = self.workers[which].owned.symbols.get(symbol)
        if owned is not None and owned.epoch is not None:
            owned.fenced = True

    @invariant()
    def a_successor_would_miss_nothing(self) -> None:
        """Whoever restores now and reads on from the committed offset has seen every event, each once."""
        if not hasattr(self, "cluster"):
            return
        successor = Worker("successor", self.cluster)
        successor.go_on_as(Membership("successor", 10_000))
        successor.process(len(LOG))
        for symbol, state in expected(self.cluster.log_end).items():
            assert successor.owned.symbols[symbol].engine.snapshot() == state

    @invariant()
    def the_owner_is_right_as_far_as_it_has_come(self) -> None:
        if not hasattr(self, "cluster"):
            return
        for worker in self.workers:
            for name, symbol in worker.owned.symbols.items():
                if (offset := symbol.engine.offset) >= 0:
                    assert symbol.engine.snapshot() == expected(offset + 1)[name]

    def lose_any_record_of_the_table(self) -> None:
        """What a snapshot is missing, the log still has."""
        for key in self.cluster.table:
            poorer = Cluster()
            poorer.table = {each: value for each, value in self.cluster.table.items() if each != key}
            poorer.log_end, poorer.commit = self.cluster.log_end, self.cluster.commit
            successor = Worker("successor", poorer)
            successor.go_on_as(Membership("successor", 10_000))
            successor.process(len(LOG))
            for symbol, state in expected(self.cluster.log_end).items():
                held = successor.owned.symbols.get(symbol)
                assert held is not None
                assert held.engine.snapshot() == state or held.engine.hole is not None, "or it is said"

    def teardown(self) -> None:
        """Left alone, the owner has all of it, and every symbol under an epoch that is its own."""
        if not hasattr(self, "cluster"):
            return
        self.lose_any_record_of_the_table()
        self.group_gives_the_partition_to(0, expelled=True)
        owner = self.workers[0]
        owner.process(len(LOG))
        for _ in range(3):
            now(owner.checkpoints.run())
            now(owner.ownership.take_epochs())
        now(owner.checkpoints.run())
        assert self.cluster.commit == self.cluster.log_end
        assert all(symbol.epoch is not None and not symbol.fenced for symbol in owner.owned.symbols.values())


_EXPECTED: dict[int, dict[str, bytes]] = {}


def expected(end: int) -> dict[str, bytes]:
    """Each symbol's state after the log's first `end` events."""
    if end not in _EXPECTED:
        engines: dict[str, SymbolEngine] = {}
        for offset, event in enumerate(EVENTS[:end]):
            engines.setdefault(event.symbol, SymbolEngine(event.symbol, PARAMS)).apply(event, offset)
        _EXPECTED[end] = {symbol: engine.snapshot() for symbol, engine in engines.items()}
    return _EXPECTED[end]


TestTakeovers = Takeovers.TestCase
TestTakeovers.settings = settings(max_examples=examples(100), stateful_step_count=30)
