"""A real worker as its image runs it: under init.py as the first process of a PID namespace, with METRICS_HOST set."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import aiohttp
import pytest

from support import image_build
from support.compose import ROOT
from support.processes import command_of, descendants
from support.workers import Deployment, Worker, eventually

pytestmark = pytest.mark.stack

# An address of loopback that nothing else uses, in place of all addresses.
ELSEWHERE: Final = "127.0.0.2"
# Far beyond the test's patience: whoever leaves the group sooner was made to.
SESSION_TIMEOUT_MS: Final = 80_000
FIRST: Final = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, "-IS")


@pytest.fixture
def deployment(kafka: str, redis_url: str, topic_prefix: str, tmp_path: Path) -> Deployment:
    return Deployment(kafka, redis_url, topic_prefix, tmp_path, session_timeout_ms=SESSION_TIMEOUT_MS)


@pytest.fixture
def worker(deployment: Deployment) -> Worker:
    return deployment.worker("w1", METRICS_HOST=ELSEWHERE)


@pytest.fixture
def container(worker: Worker, tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    if why := image_build.missing():
        pytest.skip(why)
    command = [*FIRST, str(ROOT / "deploy" / "docker" / "init.py"), sys.executable, "-m", "app.cli", "worker"]
    environment = {**os.environ, **worker.env}
    with (
        (tmp_path / "container.log").open("wb") as log,
        subprocess.Popen(command, env=environment, cwd=ROOT, stdout=log, stderr=log) as process,
    ):
        yield process
        process.kill()


async def _answers(address: str) -> bool:
    try:
        async with aiohttp.ClientSession() as session, session.get(f"http://{address}") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


async def test_a_killed_worker_leaves_its_group_at_once_though_its_container_ends(
    deployment: Deployment, worker: Worker, container: "subprocess.Popen[bytes]"
) -> None:
    await deployment.create_topics()

    async def joined() -> bool:
        pages = [f"{worker.web_port}/health/live", f"{worker.web_port}/health/ready", f"{worker.metrics_port}/metrics"]
        return all([await _answers(f"{ELSEWHERE}:{page}") for page in pages]) and await deployment.members() == 1

    await eventually(joined, "the worker has joined")
    assert not await _answers(f"127.0.0.1:{worker.web_port}/health/live")
    assert not await _answers(f"127.0.0.1:{worker.metrics_port}/metrics")

    (pid,) = [pid for pid in descendants(container.pid) if b"\0-m\0app\0worker" in command_of(pid)]
    os.kill(pid, signal.SIGKILL)

    async def left() -> bool:
        return await deployment.members() == 0

    await eventually(left, "its watcher has left the group for it", limit_sec=30)
    assert container.wait(30) == 128 + signal.SIGKILL
