"""deploy/docker/Dockerfile: what it promises, read from it, and one role built and run as it is written."""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import pytest

from support import dockerfile, image_build
from support.compose import ROOT
from support.deployed import PORTS, parsed

PATH: Final = ROOT / "deploy" / "docker" / "Dockerfile"
FILE: Final = dockerfile.read(PATH)
ROLES: Final = ("producer", "worker", "reader")
roles: Final = pytest.mark.parametrize("role", ROLES)


def test_every_role_has_its_own_image_on_a_pinned_base() -> None:
    assert set(ROLES) <= FILE.stages.keys()
    assert list(FILE.stages)[-3:] == list(ROLES)
    image = FILE.arguments["PYTHON_IMAGE"]
    assert re.fullmatch(r"python:3\.12\.\d+-slim-bookworm", image), "a whole version, a known system, no registry"
    bases = {stage.base for stage in FILE.stages.values()} - FILE.stages.keys()
    assert bases == {"${PYTHON_IMAGE}"}, "one argument pins every stage, with a digest if the builder gives one"


@roles
def test_what_runs_is_no_root_and_writes_into_one_folder(role: str) -> None:
    user = FILE.last(role, "USER")
    assert user is not None
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user.text), "numbers, which Kubernetes can tell from root"
    owned = [run.text for stage in FILE.chain(role) for run in stage.all("RUN")]
    assert owned == ["install -d -o 10001 -g 10001 /var/lib/context8"]
    assert FILE.environment(role)["HOME"] == "/tmp"


@roles
def test_packages_come_from_the_roles_lock_with_hashes_and_as_wheels(role: str) -> None:
    installs = [run.text for run in FILE.stages[f"{role}-packages"].all("RUN")]
    assert f"--require-hashes --only-binary :all: -r {role}.txt" in installs[0]
    assert "--no-deps --no-index /wheels/*.whl" in installs[1]
    (copied,) = FILE.stages[role].all("COPY")
    assert copied.flags == {"from": f"{role}-packages"}
    assert copied.paths == (["/opt/context8"], "/opt/context8")


def test_no_instruction_fetches_anything_but_locked_packages() -> None:
    for stage in FILE.stages.values():
        assert not stage.all("ADD")
        for run in stage.all("RUN"):
            assert not re.search(r"curl|wget|apt-get|git|https?:", run.text), run.text
            for part in run.text.split("&&"):
                if "pip install" in part:
                    assert "--require-hashes" in part or "--no-index" in part, part
    assert not re.search(r"https?://(?!127\.0\.0\.1)", PATH.read_text())


@roles
def test_each_image_runs_its_command_and_says_the_ports_that_the_code_opens(role: str) -> None:
    command = FILE.last(role, "CMD")
    entry = FILE.last(role, "ENTRYPOINT")
    assert command is not None
    assert entry is not None
    parsed(command.exec_form or [])
    assert (entry.exec_form or [])[-1] == "context8"
    (exposed,) = FILE.stages[role].all("EXPOSE")
    assert {int(port) for port in exposed.text.split()} == PORTS[role]
    check = FILE.last(role, "HEALTHCHECK")
    assert check is not None
    words = msgspec.json.decode(check.text.removeprefix("CMD "), type=list[str])
    assert int(words[-1].split(":")[2].split("/")[0]) in PORTS[role]


def test_scripts_of_the_images_lie_where_their_commands_look_for_them() -> None:
    (copied,) = FILE.stages["runtime"].all("COPY")
    sources, target = copied.paths
    there = {f"{target}{Path(source).name}" for source in sources}
    used = {word for role in ROLES for word in re.findall(r"/opt/\w+\.py", _texts(role))}
    assert used == there


def _texts(role: str) -> str:
    return " ".join(i.text for word in ("ENTRYPOINT", "HEALTHCHECK") if (i := FILE.last(role, word)))


def test_the_build_gets_what_it_copies_and_no_secrets(tmp_path: Path) -> None:
    build = image_build.ImageBuild(FILE, ROOT, tmp_path, image_build.Base())
    for stage in FILE.stages.values():
        for copy in stage.all("COPY"):
            if "from" not in copy.flags:
                for source in copy.paths[0]:
                    assert (ROOT / source).exists(), source
                    assert build.included(source), source
    for outside in (".env", ".git", "data", "tests", ".venv", "docs/adr", "requirements/bench.txt", "app/__pycache__"):
        assert not build.included(outside), outside


def test_the_wheel_gets_every_file_that_the_project_says_it_has() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    copied = {source for copy in FILE.stages["wheel"].all("COPY") for source in copy.paths[0]}
    packages = re.search(r"^packages = \[(.*)\]$", project, re.MULTILINE)
    assert packages is not None
    for package in re.findall(r'"([^"]+)"', packages[1]):
        assert package.split("/")[0] in copied
    assert {"README.md", "LICENSE", "NOTICE", "pyproject.toml", "docs"} <= copied


@pytest.fixture(scope="module")
def reader() -> Iterator[image_build.ImageBuild]:
    if why := image_build.missing():
        pytest.skip(why)
    folder = Path(tempfile.mkdtemp(prefix="context8-image-"))
    folder.chmod(0o755)
    build = image_build.ImageBuild(FILE, ROOT, folder, image_build.Base())
    try:
        build.build("reader")
    except image_build.StepError as error:
        if os.environ.get("CI") == "true" or "Max retries exceeded" not in str(error):
            raise
        pytest.skip("the package index cannot be reached")
    yield build
    subprocess.run(["rm", "-rf", str(folder)], check=True)  # quicker than Python's own


@pytest.mark.timeout(600)
def test_the_readers_image_builds_as_written_and_knows_its_command(reader: image_build.ImageBuild) -> None:
    answer = reader.run("reader", ["context8", "reader", "--help"])
    assert answer.returncode == 0, answer.stderr
    assert "--allowed-host" in answer.stdout
    root = reader.build("reader")
    assert not list((root / "opt/context8/bin").glob("pip*")), "nothing can be installed into it"


@pytest.mark.timeout(600)
def test_its_user_can_write_nothing_but_its_folder_and_tmp(reader: image_build.ImageBuild) -> None:
    places = "/ /opt /opt/context8/bin /var/lib /etc /root /var/lib/context8 /tmp"
    look = f'id -u; for place in {places}; do touch "$place/x" 2>/dev/null && echo "$place"; done; true'
    answer = reader.run("reader", ["sh", "-c", look], volume="/var/lib/context8")
    assert answer.stdout.split() == ["10001", "/var/lib/context8", "/tmp"], answer.stderr


# What the engine does: start the entry point with the command, run the health check, stop with SIGTERM.
_LIFE: Final = """
{entry} {command} & first=$!
for i in $(seq 100); do
    {live} >/dev/null 2>&1 && break
    sleep 0.1
done
{live} >/dev/null && echo live
{ready} >/dev/null || echo "not ready"
kill -TERM $first
wait $first
echo "ended with $?"
"""


@pytest.mark.timeout(600)
def test_it_serves_says_that_it_is_not_ready_without_redis_and_stops_when_told(reader: image_build.ImageBuild) -> None:
    entry, check = FILE.last("reader", "ENTRYPOINT"), FILE.last("reader", "HEALTHCHECK")
    assert entry is not None
    assert check is not None
    ready = " ".join(msgspec.json.decode(check.text.removeprefix("CMD "), type=list[str]))
    life = _LIFE.format(
        entry=" ".join(entry.exec_form or []),
        command="reader --host 0.0.0.0 --allowed-host reader",  # as docker-compose.yml has it
        live=ready.replace("/health/ready", "/health/live"),
        ready=ready,
    )
    answer = reader.run("reader", ["sh", "-c", life])
    assert answer.stdout.split("\n")[-4:] == ["live", "not ready", "ended with 0", ""], answer.stdout + answer.stderr
