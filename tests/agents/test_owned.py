from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agents.owned import Owned, OwnedSymbol, PartitionProgress
from app.microstructure.engine import EngineParams, SymbolEngine
from support.examples import examples

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")


def owned_symbol(name: str, epoch: int | None = 1) -> OwnedSymbol:
    return OwnedSymbol(SymbolEngine(name, EngineParams()), partition=0, epoch=epoch, epoch_saved=True)


def test_nothing_is_committable_before_anything_was_processed() -> None:
    owned = Owned()
    owned.partitions[0] = PartitionProgress()
    assert owned.committable() == {}


def test_a_symbol_without_an_epoch_is_not_saved_and_holds_commits_back() -> None:
    owned = Owned()
    owned.partitions[0] = PartitionProgress(position=9)
    owned.symbols["BTCUSDT"] = symbol = owned_symbol("BTCUSDT", epoch=None)
    symbol.applied(4)
    assert not symbol.needs_snapshot
    assert owned.committable() == {0: 4}


def test_a_fenced_symbol_is_not_saved_and_holds_commits_back() -> None:
    symbol = owned_symbol("BTCUSDT")
    symbol.applied(4)
    symbol.fenced = True
    assert not symbol.needs_snapshot


def test_a_new_epoch_is_saved_even_if_nothing_happened_since() -> None:
    symbol = OwnedSymbol(SymbolEngine("BTCUSDT", EngineParams()), partition=0, epoch=2)
    assert not symbol.needs_snapshot, "there is no state yet"
    symbol.engine.offset = 7
    assert symbol.needs_snapshot
    symbol.snapshot_taken()
    symbol.snapshot_acknowledged(7, 8)
    assert (symbol.saved, symbol.covered) == (7, 8)
    assert not symbol.needs_snapshot


@given(st.integers(0, 10**12), st.integers(-(10**12), 10**12))
def test_the_as_of_time_never_runs_behind_the_newest_event(arrived: int, later: int) -> None:
    symbol = owned_symbol("BTCUSDT")
    symbol.engine.ts_event = 5
    symbol.arrived_ns = arrived
    assert symbol.as_of(arrived + later) == 5 + max(0, later)


class CommitPromise(RuleBasedStateMachine):
    """Whatever the order of events, snapshots, acknowledgements and dead letters: a commit covers all."""

    def __init__(self) -> None:
        super().__init__()
        self.owned = Owned()
        self.owned.partitions[0] = self.progress = PartitionProgress()
        self.durable: set[int] = set()
        self.applied: dict[str, list[int]] = {name: [] for name in SYMBOLS}
        self.on_its_way: dict[str, list[int]] = {}

    @rule(name=st.sampled_from(SYMBOLS))
    def an_event_is_applied(self, name: str) -> None:
        offset = self.progress.position + 1
        if name not in self.owned.symbols:
            self.owned.symbols[name] = owned_symbol(name)
        self.owned.symbols[name].applied(offset)
        self.applied[name].append(offset)
        self.progress.position = offset

    @rule()
    def a_record_is_set_aside(self) -> None:
        self.progress.position += 1
        self.progress.dead_letters.add(self.progress.position)

    @rule()
    def a_foreign_record_is_skipped(self) -> None:
        self.progress.position += 1
        self.durable.add(self.progress.position)

    @precondition(lambda self: self.progress.dead_letters)
    @rule(data=st.data())
    def a_dead_letter_is_acknowledged(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from(sorted(self.progress.dead_letters)))
        self.progress.dead_letters.discard(offset)
        self.durable.add(offset)

    @precondition(lambda self: self.owned.symbols)
    @rule(data=st.data())
    def a_snapshot_is_taken(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.owned.symbols)))
        if name not in self.on_its_way:
            self.owned.symbols[name].snapshot_taken()
            self.on_its_way[name] = list(self.applied[name])

    @precondition(lambda self: self.on_its_way)
    @rule(data=st.data(), lost=st.booleans())
    def a_snapshot_is_acknowledged_or_lost(self, data: st.DataObject, lost: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.on_its_way)))
        covered = self.on_its_way.pop(name)
        if not lost:
            self.owned.symbols[name].snapshot_acknowledged(covered[-1] if covered else -1, -1)
            self.durable.update(covered)

    @invariant()
    def every_offset_below_the_commit_is_durable(self) -> None:
        committed = self.owned.committable().get(0, 0)
        assert set(range(committed)) <= self.durable


TestCommitPromise = CommitPromise.TestCase
TestCommitPromise.settings = settings(max_examples=examples(200), stateful_step_count=40)
