"""The fault matrix: real server, real sockets, NautilusTrader's client under our subclass.

The figures for production timings, and the stock adapter beside ours, are in docs/producer.md
(`python -m producer.faults`).
"""

import pytest

from producer.faults.adapters import Ours
from producer.faults.cases import CASES, Case
from producer.faults.trial import run_trial
from producer.timing import Timing
from support.telling import Tell

QUICK = Timing(
    idle=0.5,
    answer=0.2,
    look=0.15,
    open_limit=2.0,
    reconnect_first=0.1,
    reconnect_longest=0.5,
    first_diff=0.5,
    snapshot_limit=3.0,
    snapshot_first=0.05,
    snapshot_longest=0.3,
    behind=1.0,
)
SEED = 7


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
async def test_the_book_is_right_or_said_to_be_unknown_and_comes_back(case: Case, tell: Tell) -> None:
    outcome = await run_trial(case, lambda judge: Ours(judge, QUICK), SEED, limit=30)
    verdict = outcome.verdict
    told = "not needed" if outcome.told is None else f"after {outcome.told:.2f} s"
    tell(f"{case.name}: unknown {told}, right again after {outcome.recovered or -1:.2f} s")
    assert outcome.recovered is not None, verdict
    if not case.doubtful:
        assert verdict.wrong == 0, verdict.examples
    assert verdict.misdated == 0
    assert outcome.other.recovered
    assert outcome.other.wrong == 0, outcome.other.examples
    if case.alone:
        assert outcome.other.unknown_at is None, "a fault of one symbol leaves the others alone"
