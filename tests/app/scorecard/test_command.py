import argparse
import json
from pathlib import Path

import pytest

from app.scorecard import command, document
from app.scorecard.trials import SCORING_SEEDS, TUNING_SEEDS


def arguments(*given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(given)


def test_two_processes_write_the_same_scorecard_as_one(tmp_path: Path) -> None:
    written = []
    for jobs in ("1", "2"):
        out = tmp_path / f"{jobs}.json"
        assert command.run(arguments("--seeds", "3-4", "--seconds", "120", "--jobs", jobs, "--out", str(out))) == 0
        written.append(json.loads(out.read_text()))
    assert written[0] == written[1]
    assert written[0]["seeds"] == [3, 4]
    assert written[0]["trials"] == 8


def test_the_tables_go_between_the_markers_of_a_document(tmp_path: Path) -> None:
    path = tmp_path / "detectors.md"
    path.write_text(f"by hand\n{document.BEGIN}\n{document.END}\nalso by hand\n")
    assert command.run(arguments("--seeds", "3", "--seconds", "120", "--jobs", "1", "--out", str(path))) == 0
    assert path.read_text().startswith(f"by hand\n{document.BEGIN}\n\n1 seeds, 3 to 3; 4 trials")
    assert path.read_text().endswith("also by hand\n")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (("--seeds", "9-3"), "--seeds 9-3"),
        (("--seeds", "some"), "--seeds some"),
        (("--seeds", "0-5000"), "--seeds 0-5000"),
        (("--seconds", "5"), "--seconds 5"),
        (("--seconds", "nan"), "--seconds nan"),
        (("--jobs", "0"), "--jobs 0"),
        (("--out", "card.pdf"), "--out card.pdf"),
        (("--out", "no/such/folder/card.json"), "--out no/such/folder/card.json"),
        (("--tape", "absent.tape", "--jobs", "1"), "absent.tape"),
    ],
)
def test_a_bad_argument_is_named_in_one_line(
    given: tuple[str, ...], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.run(arguments(*given)) == 2
    said = capsys.readouterr().err
    assert named in said
    assert said.count("\n") == 1


def test_the_default_seeds_are_those_that_nothing_was_tuned_on() -> None:
    first, last = arguments().seeds.split("-")
    assert range(int(first), int(last) + 1) == SCORING_SEEDS
    assert not set(SCORING_SEEDS) & set(TUNING_SEEDS)
