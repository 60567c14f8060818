"""SIGHUP at any moment: a process that gets it before it can act on it lives on, and acts on it later."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from producer.hang_ups import HangUps

Until = Callable[..., Awaitable[None]]

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def handler_put_back() -> Iterator[None]:
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


async def test_what_came_before_anybody_listened_is_told_once(until: Until) -> None:
    told: list[str] = []
    hang_ups = HangUps()
    signal.raise_signal(signal.SIGHUP)
    signal.raise_signal(signal.SIGHUP)
    hang_ups.listen(lambda: told.append("early"))
    assert told == ["early"]
    signal.raise_signal(signal.SIGHUP)
    await until(lambda: len(told) == 2)
    asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)


async def test_nothing_is_told_where_nothing_came() -> None:
    told: list[str] = []
    HangUps().listen(lambda: told.append("?"))
    assert told == []
    asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)


def run_python(program: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program]
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | env, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_producer_outlives_a_hang_up_before_its_first_step() -> None:
    program = """
import argparse, importlib.abc, signal, sys
from producer import command

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "producer.start":
            signal.raise_signal(signal.SIGHUP)  # while the very first thing is being done

sys.meta_path.insert(0, Finder())
sys.exit(command.run(argparse.Namespace(symbols=None)))
"""
    ended = run_python(program, PRODUCER_QUEUE_LIMIT="many")
    assert ended.returncode == 2, "as far as it comes with such a setting"
    assert "PRODUCER_QUEUE_LIMIT='many' is not allowed" in ended.stderr


def test_nothing_that_takes_time_is_imported_before_hang_ups_are_handled() -> None:
    ended = run_python("import sys, app.cli, producer.command; print(*sys.modules)")
    assert "producer.hang_ups" in ended.stdout.split()
    assert not {"asyncio", "msgspec", "aiokafka", "logging", "nautilus_trader"} & set(ended.stdout.split())


def test_a_process_without_it_would_end() -> None:
    ended = run_python("import signal; signal.raise_signal(signal.SIGHUP)")
    assert ended.returncode == -signal.SIGHUP
