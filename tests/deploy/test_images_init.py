"""deploy/docker/init.py and healthy.py, run as the images run them."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Final

import pytest

from support import image_build
from support.compose import ROOT

PYTHON: Final = [sys.executable, "-IS"]
INIT: Final = [*PYTHON, str(ROOT / "deploy" / "docker" / "init.py")]
HEALTHY: Final = [*PYTHON, str(ROOT / "deploy" / "docker" / "healthy.py")]


def _run(*command: str, before: tuple[str, ...] = ()) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*before, *INIT, *command], capture_output=True, text=True, check=False, timeout=60)


def _as_first_process() -> tuple[str, ...]:
    if why := image_build.missing():
        pytest.skip(why)
    return ("unshare", "--pid", "--fork", "--mount-proc")


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -KILL $$", 137)])
def test_it_ends_as_its_command_ends(script: str, code: int) -> None:
    assert _run("sh", "-c", script).returncode == code


def test_a_command_that_is_missing_is_said_to_be_missing() -> None:
    answer = _run("no-such-command")
    assert answer.returncode == 127
    assert answer.stderr == "init: no-such-command: No such file or directory\n"


def test_a_signal_reaches_the_command_which_ends_in_its_own_way() -> None:
    script = "trap 'echo told; exit 5' TERM; echo ready; while :; do sleep 0.05; done"
    with subprocess.Popen([*INIT, "sh", "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.stdout.read() == "told\n"
        assert process.wait(30) == 5


def test_the_command_reads_what_is_typed_so_that_mcp_works_over_stdio() -> None:
    answer = subprocess.run([*INIT, "cat"], input="line\n", capture_output=True, text=True, check=False, timeout=60)
    assert answer.stdout == "line\n"


# The command dies; the process that it has left, in a session of its own, has something to say half a second later.
_WITH_HEIR: Final = "setsid sh -c 'sleep 0.5; echo last will' & kill -KILL $$"


def test_what_a_killed_command_leaves_behind_can_finish() -> None:
    answer = _run("sh", "-c", _WITH_HEIR, before=_as_first_process())
    assert answer.stdout == "last will\n"
    assert answer.returncode == 137


def test_without_it_the_kernel_ends_everything_with_the_first_process() -> None:
    command = [*_as_first_process(), "sh", "-c", f"sh -c {_WITH_HEIR.replace(chr(39), chr(34))!r}; exit 1"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert "last will" not in answer.stdout


def test_it_does_not_wait_for_what_never_ends() -> None:
    answer = _run("sh", "-c", "setsid sleep 600 </dev/null >/dev/null 2>&1 & exit 4", before=_as_first_process())
    assert answer.returncode == 4


@pytest.fixture
def answers() -> Iterator[HTTPServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" else 503)
            self.end_headers()
            self.wfile.write(b'{"problems": ["why"]}')

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield server
        server.shutdown()


def test_healthy_is_200_and_the_answer_is_shown_in_either_case(answers: HTTPServer) -> None:
    for path, code in (("/health", 0), ("/other", 1)):
        url = f"http://127.0.0.1:{answers.server_port}{path}"
        found = subprocess.run([*HEALTHY, url], capture_output=True, text=True, check=False, timeout=60)
        assert (found.returncode, found.stdout) == (code, '{"problems": ["why"]}\n')


def test_nobody_there_is_not_healthy() -> None:
    found = subprocess.run([*HEALTHY, "http://127.0.0.1:1/health"], capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert "refused" in found.stdout


def test_the_lock_entries_of_the_build_backend_are_whole_and_a_missing_one_is_an_error(tmp_path: Path) -> None:
    awk = shutil.which("awk")
    assert awk is not None
    lock, script = ROOT / "requirements" / "dev.txt", ROOT / "deploy" / "docker" / "pick.awk"

    def pick(names: str) -> "subprocess.CompletedProcess[str]":
        command = [awk, "-v", f"names={names}", "-f", str(script), str(lock)]
        return subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"]})

    answer = pick("hatchling pluggy")
    assert answer.returncode == 0
    lines = answer.stdout.splitlines()
    assert [line.split("==")[0] for line in lines if "==" in line] == ["hatchling", "pluggy"]
    assert sum("--hash=sha256:" in line for line in lines) >= 4
    assert pick("hatchling no-such-thing").returncode == 1
