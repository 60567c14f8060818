"""The soak's tables."""

from dataclasses import replace

from producer.soak.chain import Sample
from producer.soak.report import HEAD, NATIVE, Measured, limit, percentiles, row, stages
from producer.soak.stages import LOOP


def sampled(at: float, published: float, main: float) -> Sample:
    metrics = {
        "published_total": published,
        "events_total": published,
        "best_compared_total": published,
        "best_equal_total": published,
    }
    return Sample(
        at, metrics, known=5, stages={LOOP: int(main * 200)}, main=main, total=main * 1.25, exchange=main, behind_ms=0.0
    )


FIRST = [sampled(0.0, 0, 1.0), sampled(0.0, 0, 1.0)]
LAST = [sampled(10.0, 20_000, 5.0), sampled(10.1, 10_000, 3.0)]
GOOD = Measured(
    load="2 × 10 × 200",
    symbols=10,
    first=FIRST,
    last=LAST,
    queue=7,
    behind_ms=3.0,
    kafka=1.0,
    machine=16.0,
    cores=4,
    rss_mb=300.0,
    ages=[1.0],
    publishing=[2.0],
)


def test_a_row_sums_the_producers_and_names_the_busiest() -> None:
    cells = [cell.strip() for cell in row(GOOD).split("|")][1:-1]
    assert cells == [
        "2 × 10 × 200", "3,000", "40%, 75%, 300 MB", "60%, 3 ms late", "10%", "15%", "7", "1/1 ms", "2/2 ms",
        "100.0000%", "0", "none; the machine 40% busy",
    ]  # fmt: skip
    head, rule = HEAD.splitlines()
    assert row(GOOD).count("|") == head.count("|") == rule.count("|")


def test_the_limit_is_what_was_full() -> None:
    assert limit(replace(GOOD, behind_ms=900.0)) == "the simulator"
    assert limit(replace(GOOD, machine=39.0)) == "the machine, 98% busy"
    assert limit(replace(GOOD, last=[sampled(10.0, 1, 9.9), LAST[1]])) == "a producer's core"
    assert limit(replace(GOOD, symbols=12)) == "none; the machine 40% busy; 2 of 12 books not known at the end"


def test_stages_share_the_main_thread_and_native_threads_have_the_rest() -> None:
    lines = {line.split("|")[1].strip(): line for line in stages(GOOD).splitlines()[2:]}
    assert lines[LOOP] == f"| {LOOP} | 80% | 200.0 | 5,000 |"
    assert lines[NATIVE] == f"| {NATIVE} | 20% | 50.0 | 20,000 |"
    assert lines["**main thread**"] == "| **main thread** | 80% | 200.0 | 5,000 |"


def test_percentiles_are_of_the_values_in_order() -> None:
    assert percentiles([float(value) for value in range(100, 0, -1)]) == "51/100 ms"
    assert percentiles([]) == "–"
