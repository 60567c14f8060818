import argparse
from pathlib import Path

import pytest

from producer.record import command


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the settings of whoever runs the tests away."""
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args(arguments))


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("--out a.tape", "--out a.tape is not allowed: a name that ends in .tape.gz"),
        ("--out .tape.gz", "--out .tape.gz is not allowed: a name that ends in .tape.gz"),
        ("--out none/a.tape.gz", "--out none/a.tape.gz is not allowed: a file in a folder that exists"),
        ("--out a.tape.gz --symbols btc", "--symbols 'btc' is not allowed: a comma-separated list, each"),
        ("--out a.tape.gz --seconds 0", "--seconds 0 is not allowed: 1 to 3.1536e+07"),
        ("--out a.tape.gz --rotate-mb 0", "--rotate-mb 0 is not allowed: 0.001 to 1e+06"),
        ("--out a.tape.gz --rotate-minutes 0", "--rotate-minutes 0 is not allowed: 0.01 to 525600"),
    ],
)
def test_what_is_not_allowed_is_one_line(arguments: str, problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments.split()) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"context8 record: {problem}")
    assert said.count("\n") == 1
