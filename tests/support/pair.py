"""Two workers under a steady stream: the ground that most faults are tried on."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from app.microstructure.engine import EngineParams, SymbolEngine
from support.ground import Ground
from support.streams import SYMBOLS, Feed, interleaved, last_offsets, undisturbed
from support.workers import PARTITIONS, Worker, all_shared, eventually

_PER_SEC = 640.0


class Pair:
    """Workers `w1` and `w2` and `each` events of every symbol; `first` are settings of `w1` alone."""

    def __init__(self, ground: Ground, *, each: int = 200, **first: str) -> None:
        self.ground = ground
        self.events = interleaved(each)
        self.first = ground.deployment.worker("w1", **first)
        self.second = ground.deployment.worker("w2")

    @contextmanager
    def running(self) -> Iterator["Pair"]:
        """Run both workers; what is left of them at the end is killed."""
        try:
            with self.first, self.second:
                yield self
        except BaseException:
            self.first.kill()
            self.second.kill()
            raise

    async def flows(self) -> Feed:
        """Return a feed that has come so far that both workers report, together all symbols."""
        await eventually(lambda: all_shared(self.first, self.second), "the partitions are split between both")
        feed = Feed(self.ground.broker.bootstrap, self.ground.deployment.settings.events_topic, self.events, _PER_SEC)
        await eventually(partial(self.written_by, {"w1", "w2"}), "both workers report")
        return feed

    async def written_by(self, nodes: set[str]) -> bool:
        """Whether every symbol has a report, and these are the writers."""
        writers = await self.ground.reports.writers()
        return len(writers) == len(SYMBOLS) and {node for node, _ in writers.values()} == nodes

    async def symbols_of(self, node: str) -> set[str]:
        """The symbols whose reports a worker wrote."""
        return {symbol for symbol, (writer, _) in (await self.ground.reports.writers()).items() if writer == node}

    async def fresh(self, since_ms: float) -> bool:
        """Whether every report was written after this Unix time."""
        seen = await self.ground.reports.all()
        return len(seen) == len(SYMBOLS) and all(each.written_ms > since_ms for each in seen.values())

    async def all_reported(self, feed: Feed) -> None:
        """Wait until everything is sent and in reports."""
        await feed
        last = last_offsets(self.events, PARTITIONS)
        await eventually(lambda: self.ground.reports.reached(last), "every event is in a report")

    async def left_as_undisturbed(self) -> None:
        """Stop the workers that run, and hold the states that they leave to those of an undisturbed run."""
        for worker in (self.first, self.second):
            if worker.running:
                await stopped(worker)
        require_equal(await self.ground.deployment.newest_states(), undisturbed(self.events, PARTITIONS))


async def stopped(worker: Worker) -> None:
    """Stop a worker by SIGTERM; it must end by itself, and well."""
    worker.request_stop()
    await eventually(worker.ended, f"{worker.name} ends", limit_sec=15)
    assert worker.exit_code == 0, f"{worker.name} ended with {worker.exit_code}: {worker.log_tail()}"


async def names_problem(worker: Worker, name: str) -> bool:
    """Whether /health names `name` as what keeps the worker from its work."""
    return any(name in problem for problem in (await worker.health()).get("problems", ()))


def require_equal(states: dict[str, bytes], expected: dict[str, bytes]) -> None:
    """Fail with what differs, symbol by symbol; the bytes would fill pages."""
    differences = {s: _difference(states.get(s), right) for s, right in expected.items() if states.get(s) != right}
    assert differences == {}, differences


def _difference(state: bytes | None, right: bytes) -> str:
    if state is None:
        return "has no state"
    ours, theirs = (SymbolEngine.restore(each, EngineParams()).state() for each in (state, right))
    fields = [name for name in ours.__struct_fields__ if getattr(ours, name) != getattr(theirs, name)]
    where = f"offset {ours.offset}, should be {theirs.offset}"
    return f"{where}; other {', '.join(fields)}; flow {ours.flow}, should be {theirs.flow}"
