"""docs/runbooks/deployment.md: what its commands would do, tried with kubectl itself as far as it goes alone."""

import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from support import dockerfile
from support.pages import DOCS, ROOT, blocks

PAGE: Final = DOCS / "runbooks" / "deployment.md"
LINES: Final = [line for block in blocks(PAGE) if block.language == "bash" for line in block.code.splitlines()]


def _of(program: str) -> list[list[str]]:
    return [words for line in LINES if (words := shlex.split(line))[0] == program]


@pytest.fixture(scope="module")
def kubectl() -> str:
    found = shutil.which("kubectl")
    if found is None:
        pytest.skip("no kubectl on this machine: its commands in the runbook were only read")
    return found


def test_the_secrets_that_it_makes_are_those_that_the_manifests_name(kubectl: str, tmp_path: Path) -> None:
    made: dict[str, set[str]] = {}
    for words in _of("kubectl"):
        if "create" not in words:
            continue
        for word in words:
            if word.startswith("--from-file="):
                (tmp_path / word.removeprefix("--from-file=").split("=")[-1]).write_text("x")
        command = [kubectl, *words[1:], "--dry-run=client", "--output=json"]
        answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert answer.returncode == 0, answer.stderr
        secret: dict[str, Any] = msgspec.json.decode(answer.stdout)
        made[secret["metadata"]["name"]] = set(secret["data"])
        assert secret["metadata"]["namespace"] == "context8"
    assert made == {
        "context8-redis": {"worker-password", "reader-password", "ca.crt"},
        "context8-kafka": {"username", "password", "ca.crt"},
        "context8-binance": {"api-key", "api-secret"},
    }


def test_kubectl_knows_every_command_and_option_of_the_page(kubectl: str) -> None:
    for words in _of("kubectl"):
        plain = [word for word in words[1:] if word not in ("-n", "context8")]
        verb = plain[: {"create": 3, "rollout": 2}.get(plain[0], 1)]
        help_text = subprocess.run([kubectl, *verb, "--help"], capture_output=True, text=True, check=True).stdout
        for option in (word.split("=")[0] for word in plain if word.startswith("-")):
            assert option in help_text, f"{' '.join(verb)} {option}"


def test_every_target_that_is_built_is_there_and_gets_the_tag_that_the_manifests_want() -> None:
    stages = dockerfile.read(ROOT / "deploy" / "docker" / "Dockerfile").stages
    built = [words for words in _of("docker") if words[1] == "build"]
    tags = set()
    for words in built:
        target, file = words[words.index("--target") + 1], words[words.index("--file") + 1]
        assert target in stages
        assert (ROOT / file).is_file()
        tags.add(words[words.index("--tag") + 1])
        assert words[-1] == "."
    assert {f"context8-{role}:0.1.0" for role in ("producer", "worker", "reader")} <= tags


def test_the_properties_that_it_sets_are_those_of_the_bootstrap_file() -> None:
    bootstrap = msgspec.yaml.decode((ROOT / "deploy" / "redpanda" / "bootstrap.yaml").read_text())
    given = {words[4]: int(words[5]) for words in _of("rpk") if words[1:4] == ["cluster", "config", "set"]}
    assert given
    assert given.items() <= bootstrap.items()
