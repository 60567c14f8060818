import argparse
import asyncio
import json
import shutil
import signal
import sys
from pathlib import Path

import pytest
from aiohttp import ClientSession

from producer.exchange import command
from producer.exchange.scenario import FORM

ROOT = Path(__file__).parents[3]
PROGRAM = """
import argparse, sys
from producer.exchange import command
parser = argparse.ArgumentParser()
command.add_arguments(parser)
sys.exit(command.run(parser.parse_args()))
"""


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(arguments)


async def start(*arguments: str) -> tuple[asyncio.subprocess.Process, str]:
    """Start the command on a free port; return it and its first line."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, "--port", "0", *arguments, cwd=ROOT,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    async with asyncio.timeout(30):
        return process, (await process.stdout.readline()).decode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_it_says_one_line_serves_and_ends_cleanly_on_a_signal(number: signal.Signals) -> None:
    process, line = await start("--symbols", "BTCUSDT,SOLUSDT", "--seed", "3", "--rate", "20")
    url, _, said = line.removeprefix("exchange: ").partition(" ")
    assert said == f"and {url.replace('http', 'ws')}: BTCUSDT,SOLUSDT, synthetic, seed 3, 20 events/s each\n"
    async with ClientSession(url) as http:
        async with http.get("/api/v3/exchangeInfo") as response:
            assert [it["symbol"] for it in (await response.json())["symbols"]] == ["BTCUSDT", "SOLUSDT"]
        async with http.ws_connect("/ws/solusdt@trade") as stream:
            assert json.loads((await stream.receive(timeout=30)).data)["s"] == "SOLUSDT"
            process.send_signal(number)
            async with asyncio.timeout(30):
                out, errors = await process.communicate()
    assert (process.returncode, out, errors) == (0, b"", b"")


async def test_a_tape_is_named_in_the_line(made_tape: Path) -> None:
    process, line = await start("--tape", str(made_tape), "--speed", "2", "--loop")
    process.terminate()
    async with asyncio.timeout(30):
        _, errors = await process.communicate()
    assert "BTCUSDT, tape btcusdt.tape" in line
    assert "at speed 2, looped; starts 1 s after the last subscription" in line
    assert (process.returncode, errors) == (0, b"")


async def test_a_tape_that_vanishes_ends_it_with_one_line(made_tape: Path, tmp_path: Path) -> None:
    tape = tmp_path / "short-lived.tape"
    shutil.copy(made_tape, tape)
    process, line = await start("--tape", str(tape), "--speed", "100", "--loop", "--start-delay", "0")
    tape.unlink()
    async with ClientSession(line.split()[1]) as http, http.ws_connect("/ws/btcusdt@trade"):
        async with asyncio.timeout(30):
            _, errors = await process.communicate()
    assert (process.returncode, errors.decode()) == (1, f"context8 exchange: {tape}: No such file or directory\n")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("--speed 2", "--speed only works with --tape"),
        ("--loop", "--loop only works with --tape"),
        ("--keep-times", "--keep-times only works with --tape"),
        ("--start-delay 0", "--start-delay only works with --tape"),
        ("--tape x --seed 0", "--seed does not work with --tape"),
        ("--tape x --rate 5", "--rate does not work with --tape"),
        ("--tape x --symbols BTCUSDT", "--symbols does not work with --tape"),
        ("--tape x --market sim", "--market does not work with --tape"),
        ("--tape x --loop --keep-times", "--loop does not work with --keep-times: event times would go back"),
        ("--tape x --speed 0", "--speed 0 is not allowed: 0.01 to 1000"),
        ("--tape x --scenario spoofing@1s", command._SCENARIO_ON_TAPE),
        ("--distinct 2 --scenario spoofing@1s", "--distinct does not work with --scenario"),
        ("--distinct 0", "--distinct 0 is not allowed: 1 to 1000"),
        ("--truth x", "--truth only works with --scenario"),
        ("--scenario spoofing@1s --truth /nowhere/x", "--truth /nowhere/x: No such file or directory"),
        ("--scenario spoofing", f"--scenario 'spoofing' is not allowed: {FORM}"),
        ("--rate 0", "--rate 0 is not allowed: 1 to 5000"),
        ("--port 70000", "--port 70000 is not allowed: 0 to 65535"),
        ("--host 0.0.0.0", "host '0.0.0.0' is not allowed: 127.0.0.1, ::1 or localhost"),
        ("--symbols btc", "symbol 'btc' is not allowed: 2 to 20 of A-Z and 0-9, such as BTCUSDT"),
        ("--tape /nowhere.tape", "/nowhere.tape: No such file or directory"),
    ],
)
def test_bad_arguments_are_refused_with_one_line(
    arguments: str, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.run(parse(*arguments.split())) == 2
    assert capsys.readouterr() == ("", f"context8 exchange: {problem}\n")


async def test_a_taken_port_is_one_line_and_exit_code_1() -> None:
    first, line = await start()
    port = line.split(":")[3].split()[0]
    second = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, "--port", port, cwd=ROOT, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(30):
        _, errors = await second.communicate()
        first.terminate()
        await first.communicate()
    assert second.returncode == 1
    assert errors.decode() == f"context8 exchange: cannot listen on 127.0.0.1:{port}: the port is taken\n"
