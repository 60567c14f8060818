"""What is around the judge: the schedule, resources, the summary, and that the judge knows nothing of the product."""

import ast
import os
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from soak.gaps import Gap
from soak.judge import Violation
from soak.resources import Resources, Usage, usage
from soak.summary import Outcome, as_json, markdown
from soak.timeline import Instant, Window
from support.fault_kinds import KINDS, every_kind_in_turn

PAUSES = (20.0, 40.0)
HERE = Path(__file__).parent


def test_a_seed_gives_one_schedule_and_another_seed_another() -> None:
    assert every_kind_in_turn(3, 600, KINDS, PAUSES) == every_kind_in_turn(3, 600, list(KINDS), PAUSES)
    assert every_kind_in_turn(3, 600, KINDS, PAUSES) != every_kind_in_turn(4, 600, KINDS, PAUSES)


def test_a_longer_schedule_begins_like_a_shorter_one() -> None:
    assert every_kind_in_turn(3, 3600, KINDS, PAUSES)[:9] == every_kind_in_turn(3, 600, KINDS, PAUSES)[:9]


def test_an_hour_has_every_kind_of_fault_several_times() -> None:
    faults = every_kind_in_turn(1, 3600, KINDS, PAUSES)
    assert min(Counter(each.kind for each in faults).values()) >= 3
    assert {each.kind for each in faults} == set(KINDS)
    for each in faults:
        assert KINDS[each.kind].shortest <= each.lasts <= KINDS[each.kind].longest


@pytest.mark.parametrize("module", ["judge", "gaps", "records", "timeline", "watch", "claims", "topics", "resources"])
def test_the_judge_shares_no_code_with_the_product(module: str) -> None:
    tree = ast.parse((HERE / f"{module}.py").read_text())
    names = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    product = {"app", "agents", "tables", "producer", "report_server"}
    assert not {name for name in names if name.partition(".")[0] in product}
    assert {name for name in names if name.startswith("support.")} <= {"support.fault_kinds"}


def lives(*usages: Usage) -> Resources:
    resources = Resources()
    for each in usages:
        resources.note("worker-1", 7, each)
    return resources


@pytest.mark.parametrize(
    ("last", "rule"),
    [
        (Usage(600, 125, 40, 9), None),
        (Usage(600, 180, 40, 9), "memory is flat"),
        (Usage(600, 120, 90, 9), "open files are flat"),
        (Usage(600, 120, 40, 40), "threads are flat"),
    ],
)
def test_what_a_process_has_after_a_minute_it_has_at_the_end(last: Usage, rule: str | None) -> None:
    resources = lives(Usage(0, 60, 30, 5), Usage(70, 120, 40, 9), last)
    assert [each.rule for each in resources.violations()] == ([rule] if rule else [])


def test_a_short_life_and_a_heap_of_fixed_size_say_nothing() -> None:
    assert lives(Usage(0, 60, 30, 5), Usage(61, 60, 30, 5), Usage(110, 600, 30, 5)).violations() == []
    assert lives(Usage(0, 60, 30, 5), Usage(61, 60, 30, 5), Usage(600, 600, 30, 5)).violations(["worker-1"]) == []


def test_this_process_has_memory_files_and_a_thread() -> None:
    found = usage(os.getpid())
    assert found is not None
    assert found.rss_mb > 10
    assert found.files > 2
    assert found.threads >= 1
    assert usage(2**22 + 1) is None


def test_a_process_that_has_ended_and_was_not_waited_for_has_nothing() -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        assert usage(child.pid) is not None
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert usage(child.pid) is None


def test_the_summary_has_the_longest_gap_of_every_kind_of_fault() -> None:
    kill = Window("worker kill", "worker-1", Instant(5, 5), Instant(5, 5))
    gap = Gap("BTCUSDT", False, 5.0, 7.5, (kill,))
    breach = Violation(9.0, "no crossed book", "BTCUSDT", "3 >= 2")
    life = {"worker-1": (Usage(60, 100, 30, 9), Usage(600, 110, 31, 9))}
    outcome = Outcome(
        4, 600, 9000, 500, 1, 0, [kill], [gap], [breach], {"no crossed book": 3}, life, {"worker disk": "no root"}, 0.4
    )
    text = markdown(outcome)
    assert "| worker kill | 1 | 2.5 (2) | within 2 s |" in text
    assert "| worker-1 | 600 | 100 / 110 | 30 / 31 | 9 / 9 |" in text
    assert "`make soak SECONDS=600 SEED=4`" in text
    assert "Left out: worker disk, no root." in text
    assert "Violations: no crossed book: 3." in text
    assert '"3 >= 2"' in as_json(outcome)
