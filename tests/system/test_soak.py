"""Five minutes of `make soak`: random faults on everything, and not one violation."""

import sys
from pathlib import Path

import pytest

from soak.__main__ import main

pytestmark = [pytest.mark.stack, pytest.mark.long, pytest.mark.timeout(1200)]

SEED = 5


def test_five_minutes_of_random_faults_break_no_rule(kafka: str, tmp_path: Path) -> None:
    assert kafka, "the machine can run Kafka"
    code = main(["--seconds", "300", "--seed", str(SEED), "--folder", str(tmp_path)])
    sys.stdout.write((tmp_path / "summary.md").read_text())
    assert code == 0, f"see {tmp_path}"
