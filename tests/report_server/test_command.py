import argparse
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from report_server.command import add_arguments

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def reader_env() -> dict[str, str]:
    """No Redis: starting and stopping must not need one."""
    root = Path(__file__).parents[2]
    paths = os.pathsep.join([str(root), str(root / "mcp")])
    return {"REDIS_URL": "redis://127.0.0.1:1/0", "PYTHONPATH": paths}


def run(command: list[str], env: dict[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, **env}
    return subprocess.run(
        command, env=environ, cwd=cwd, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    )


def test_a_taken_port_is_one_clear_line_and_exit_code_2(
    reader_command: list[str], reader_env: dict[str, str], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run([*reader_command, "--port", str(port)], reader_env, tmp_path)

    assert ended.returncode == 2
    assert ended.stderr == f"context8 reader: cannot listen on 127.0.0.1:{port}: Address already in use\n"
    assert ended.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "env", "line"),
    [
        (
            [],
            {"TIMEOUT_MS": "soon"},
            "context8 reader: TIMEOUT_MS='soon' is not allowed: a whole number from 10 to",
        ),
        (["--host", "0.0.0.0"], {}, "context8 reader: --host 0.0.0.0 needs --allowed-host NAME"),
        (
            ["--host", "no.such.host.invalid"],
            {},
            "context8 reader: cannot listen on no.such.host.invalid:8080: ",
        ),
    ],
)
def test_what_cannot_be_served_is_one_clear_line_and_exit_code_2(
    reader_command: list[str],
    reader_env: dict[str, str],
    tmp_path: Path,
    arguments: list[str],
    env: dict[str, str],
    line: str,
) -> None:
    ended = run([*reader_command, *arguments], {**reader_env, **env}, tmp_path)

    assert ended.returncode == 2
    assert ended.stderr.startswith(line)
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_reader_with_exit_code_0_also_when_redis_is_away(
    reader_command: list[str], reader_env: dict[str, str], tmp_path: Path, number: signal.Signals
) -> None:
    command, environ = [*reader_command, "--port", "0"], {**os.environ, **reader_env}
    with subprocess.Popen(command, env=environ, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as reader:
        assert reader.stderr is not None
        assert "listening on http://127.0.0.1:" in reader.stderr.readline()
        reader.send_signal(number)
        _, rest = reader.communicate(timeout=30)

    assert (reader.returncode, rest) == (0, "")


def test_over_stdio_the_reader_ends_when_its_client_goes_and_prints_only_protocol(
    reader_command: list[str], reader_env: dict[str, str], tmp_path: Path
) -> None:
    ended = run([*reader_command, "--transport", "stdio"], {**reader_env, "LOG_LEVEL": "DEBUG"}, tmp_path)

    assert (ended.returncode, ended.stdout) == (0, "")


@pytest.mark.parametrize("port", ["-1", "65536", "http", "8080.0", "٣"])
def test_a_port_that_is_none_is_refused(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)

    with pytest.raises(SystemExit):
        parser.parse_args([f"--port={port}"])
    assert "is not a whole number from 0 to 65535" in capsys.readouterr().err
