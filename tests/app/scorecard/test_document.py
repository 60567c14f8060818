import json
from pathlib import Path

import pytest

from app.scorecard import document
from app.scorecard.catalogue import Detector
from app.scorecard.inject import Episode
from app.scorecard.score import FalseAlarm, Outcome, Verdict
from app.scorecard.summary import Scorecard, scorecard


@pytest.fixture
def card() -> Scorecard:
    episode = Episode("crash", "flash_crash_risk", "pattern", "high", 0, 10)
    alarm = FalseAlarm("sim", False, "flash_crash_risk", "low", "wide only", 5, 3.0)
    exposure: dict[Detector, float] = {"spoofing": 3600.0, "iceberg": 3600.0, "flash_crash_risk": 1800.0}
    injected = Outcome("sim", False, 3600.0, [Verdict("sim", episode, "high", 2.0)], [alarm], [], exposure)
    clean = Outcome("sim", True, 3600.0, [], [], [], exposure)
    return scorecard([injected, clean], [1000, 1001])


def test_the_tables_show_what_was_counted(card: Scorecard) -> None:
    text = document.to_markdown(card)
    assert (
        "| Flash-crash risk | synthetic market | 0.500 (1/2; 0.09–0.91) | 1.000 (1/1; 0.21–1.00) | 2.0 s / 2.0 s |"
        in text
    )
    assert "0.00 (0 in 0.50 h; at most 5.99)" in text
    assert "| Flash-crash risk | synthetic market | wide only 1 |" in text
    assert "| Iceberg | synthetic market | – | – | – |" in text


def test_the_tables_replace_only_what_stands_between_the_markers(card: Scorecard) -> None:
    before = f"# Detectors\n\nBy hand.\n\n{document.BEGIN}\nstale figures\n{document.END}\n\nAlso by hand.\n"
    after = document.into_document(before, card)
    assert after.startswith(f"# Detectors\n\nBy hand.\n\n{document.BEGIN}\n")
    assert after.endswith(f"{document.END}\n\nAlso by hand.\n")
    assert "stale figures" not in after
    assert document.into_document(after, card) == after


def test_without_markers_the_tables_are_the_document(card: Scorecard) -> None:
    assert document.into_document("", card) == document.to_markdown(card)


def test_json_carries_every_number(card: Scorecard, tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    document.write(path, card)
    scores = {score["detector"]: score for score in json.loads(path.read_text())["scores"]}
    assert scores["flash_crash_risk"]["recall"]["hits"] == 1
    assert scores["flash_crash_risk"]["clean"]["hours"] == 0.5
