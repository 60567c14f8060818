"""The table of docs/producer.md: what it says of an outcome, and that it says something of every fault."""

from pathlib import Path

import pytest

from producer.faults.__main__ import BEGIN, END, put_between, row
from producer.faults.cases import CASES, Case
from producer.faults.judge import STREAK, SymbolVerdict
from producer.faults.trial import Outcome

DOCUMENT = Path(__file__).parents[3] / "docs" / "producer.md"
CASE = Case("a fault")


def outcome(
    told: float | None,
    recovered: float | None,
    *,
    wrong: int = 0,
    states: int = 9,
    known: bool = True,
    still: float = 0.0,
) -> Outcome:
    verdict = SymbolVerdict(known=known, states=states, wrong=wrong, streak=STREAK if recovered else 0)
    return Outcome(told, recovered, verdict, SymbolVerdict(), still)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (outcome(0.31, 0.42), "0.3 s, 0.4 s | 0 of 9"),
        (outcome(None, 0.1), "not disturbed | 0 of 9"),
        (outcome(None, 0.5, wrong=2), "right again after 0.5 s | 2 of 9"),
        (outcome(None, None, wrong=8), "**wrong for ever** | 8 of 9"),
        (outcome(None, None, still=15.0), "**stands still for ever** | 0 of 9"),
        (outcome(None, None, states=0, known=False), "**never begins** | 0 of 9".replace("of 9", "of 0")),
        (outcome(0.2, None, known=False), "**unknown for ever** | 0 of 9"),
    ],
)
def test_an_outcome_in_words(found: Outcome, said: str) -> None:
    assert row(CASE, found, found) == f"| a fault | {said} | {said} |\n"


def test_what_the_stock_adapter_does_not_use_is_left_out() -> None:
    assert row(CASE, outcome(None, 0.1), None).endswith("| does not use it |  |\n")


def test_the_table_goes_between_its_markers() -> None:
    text = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert put_between(text, "new\n") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    with pytest.raises(ValueError, match="no line"):
        put_between("before", "new")


def test_the_document_has_a_row_for_every_fault_and_only_doubtful_ones_have_wrong_states() -> None:
    table = DOCUMENT.read_text().partition(BEGIN)[2].partition(END)[0]
    rows = {cells[1].strip(): cells for cells in (line.split("|") for line in table.splitlines()) if len(cells) > 3}
    for case in CASES:
        assert case.name in rows, f"run python -m producer.faults --write {DOCUMENT.name}"
        assert "for ever" not in rows[case.name][2]
        assert case.doubtful or rows[case.name][3].strip().startswith("0 of")
