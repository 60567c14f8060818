"""What the soak says: a row for each load, what its limit was, and what each stage of the producer costs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from producer.soak.chain import Sample
from producer.soak.stages import STAGES

HEAD: Final = (
    "| producers × symbols × events/s | published/s | producers: busiest main thread, all threads, RSS | exchanges "
    "| Kafka | others | longest queue | age at receipt p50/p99 | publish p50/p99 | equal to bookTicker | resyncs "
    "| limit |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|\n"
)
STAGE_HEAD: Final = "| stage of the producer | share of its CPU | µs an event | events/s a core |\n|---|---|---|---|\n"
NATIVE: Final = "WebSocket frames (native threads)"

_LATE_MS: Final = 500.0
_BUSY: Final = 0.85
_FULL: Final = 0.95


@dataclass(frozen=True)
class Measured:
    """One load.

    Attributes:
        first, last: samples of each producer at the beginning and the end.
        queue, behind_ms: the longest seen of all producers and exchanges.
        kafka, machine: CPU seconds in between, of Kafka and of the whole machine.
        ages, publishing: milliseconds, see `chain.delays`.
    """

    load: str
    symbols: int
    first: Sequence[Sample]
    last: Sequence[Sample]
    queue: float
    behind_ms: float
    kafka: float
    machine: float
    cores: int
    rss_mb: float
    ages: list[float]
    publishing: list[float]

    @property
    def seconds(self) -> float:
        """How long it was measured."""
        return self.last[0].at - self.first[0].at

    def grown(self, name: str) -> float:
        """Return by how much a counter of all producers together grew."""
        return sum(
            after.metrics.get(name, 0.0) - before.metrics.get(name, 0.0)
            for before, after in zip(self.first, self.last, strict=True)
        )

    @property
    def busiest(self) -> float:
        """The greatest share of a core that a producer's main thread used."""
        pairs = zip(self.first, self.last, strict=True)
        return max((after.main - before.main) / self.seconds for before, after in pairs)

    @property
    def total(self) -> float:
        """CPU seconds of all producers."""
        return sum(after.total - before.total for before, after in zip(self.first, self.last, strict=True))

    @property
    def native(self) -> float:
        """CPU seconds of the producers' other threads."""
        return self.total - sum(after.main - before.main for before, after in zip(self.first, self.last, strict=True))

    @property
    def exchange(self) -> float:
        """CPU seconds of all exchanges."""
        return sum(after.exchange - before.exchange for before, after in zip(self.first, self.last, strict=True))


def row(measured: Measured) -> str:
    """Return the load's line of the table."""
    seconds = measured.seconds
    compared = measured.grown("best_compared_total")
    equal = f"{measured.grown('best_equal_total') / compared:.4%}" if compared else "–"
    others = max(0.0, measured.machine - measured.total - measured.exchange - measured.kafka)
    cells = (
        measured.load,
        f"{measured.grown('published_total') / seconds:,.0f}",
        f"{measured.busiest:.0%}, {measured.total / seconds:.0%}, {measured.rss_mb:.0f} MB",
        f"{measured.exchange / seconds:.0%}, {measured.behind_ms:.0f} ms late",
        f"{measured.kafka / seconds:.0%}",
        f"{others / seconds:.0%}",
        f"{measured.queue:,.0f}",
        percentiles(measured.ages),
        percentiles(measured.publishing),
        equal,
        f"{measured.grown('resyncs_total'):.0f}",
        limit(measured),
    )
    return f"| {' | '.join(cells)} |"


def limit(measured: Measured) -> str:
    """Return what kept more from coming through, if anything did."""
    unknown = measured.symbols - sum(sample.known for sample in measured.last)
    lost = f"; {unknown} of {measured.symbols} books not known at the end" if unknown else ""
    busy = measured.machine / measured.seconds / measured.cores
    if measured.busiest > _BUSY:
        return "a producer's core" + lost
    if busy > _FULL:
        return f"the machine, {busy:.0%} busy" + lost
    if measured.behind_ms > _LATE_MS:
        return "the simulator" + lost
    return f"none; the machine {busy:.0%} busy" + lost


def stages(measured: Measured) -> str:
    """Return the table of what each stage of the producer costs, by event that was handed over for publishing."""
    counts: Counter[str] = Counter()
    for before, after in zip(measured.first, measured.last, strict=True):
        counts.update(after.stages)
        counts.subtract(before.stages)
    main = measured.total - measured.native
    samples = max(1, counts.total())
    spent = {stage: main * counts[stage] / samples for stage in STAGES} | {NATIVE: measured.native}
    events = max(1.0, measured.grown("events_total"))
    lines = [_stage(name, sec, measured.total, events) for name, sec in spent.items() if sec > 0]
    whole = [_stage("**main thread**", main, measured.total, events)]
    return STAGE_HEAD + "".join(lines + whole)


def _stage(name: str, spent: float, total: float, events: float) -> str:
    if not spent or not total:
        return f"| {name} | – | – | – |\n"
    return f"| {name} | {spent / total:.0%} | {1e6 * spent / events:.1f} | {events / spent:,.0f} |\n"


def percentiles(values: list[float]) -> str:
    """Return median and 99th percentile in words."""
    ordered = sorted(values)
    return f"{ordered[len(ordered) // 2]:.0f}/{ordered[len(ordered) * 99 // 100]:.0f} ms" if ordered else "–"
