"""A worker in which something has died without which it does not work: it ends with 1, says what, and is replaced.

A `sitecustomize` cancels the task, as an error that nobody caught would have ended it: whatever killed it, it is gone.
"""

import asyncio
import time
from functools import partial
from pathlib import Path

import pytest

from app import exit_codes
from support.ground import Ground
from support.pair import Pair
from support.telling import Tell
from support.workers import eventually

pytestmark = pytest.mark.stack

KILL = '''"""Cancels the tasks of which the name or the code is what the file `KILL_TASK` says."""

import asyncio
import os
import threading
import time
from pathlib import Path

order = Path(os.environ["KILL_TASK"])


def watch():
    found = False
    while not found:  # the order may be half-written, and tasks come and go while we look through them
        time.sleep(0.01)
        wanted = order.read_text() if order.exists() else ""
        try:
            tasks = list(asyncio.tasks._scheduled_tasks)
        except RuntimeError:
            continue
        for task in tasks:
            code = getattr(task.get_coro(), "__qualname__", "")
            if not task.done() and wanted in (task.get_name(), code):
                task.get_loop().call_soon_threadsafe(task.cancel)
                found = True


threading.Thread(target=watch, daemon=True).start()
'''
NEVER_STOPS = """from asyncio import sleep

import aiokafka


async def stop(self):
    await sleep(3600)


aiokafka.AIOKafkaConsumer.stop = stop
"""
PARTS = {
    "GroupCoordinator._coordination_routine": "task that keeps the worker in its group",
    "Fetcher._fetch_requests_routine": "task that fetches events",
    "Sender._sender_routine": "task that sends to Kafka",
    "changelog follower": "task that follows the changelog",
}


@pytest.mark.parametrize("task", PARTS)
async def test_it_ends_with_1_and_others_go_on_within_2_seconds(
    ground: Ground, tmp_path: Path, task: str, tell: Tell
) -> None:
    (tmp_path / "kill").mkdir()
    (tmp_path / "kill" / "sitecustomize.py").write_text(KILL)
    order = tmp_path / "order"
    with Pair(ground, PYTHONPATH=str(tmp_path / "kill"), KILL_TASK=str(order)).running() as pair:
        feed = await pair.flows()
        since = time.monotonic()
        order.write_text(task)
        await eventually(pair.first.ended, "the worker ends", limit_sec=10)
        ended_sec = time.monotonic() - since
        await eventually(partial(pair.written_by, {"w2"}), "the other writes all symbols", limit_sec=10)
        replaced_sec = time.monotonic() - since
        assert pair.first.exit_code == exit_codes.CRASHED
        assert f"the {PARTS[task]} " in pair.first.log.read_text()
        tell(f"{PARTS[task]} died: the worker ended after {ended_sec:.2f} s, others wrote after {replaced_sec:.2f} s")
        assert replaced_sec < 5.0, "2 s are promised, on a machine that has nothing else to do"
        await asyncio.wait_for(pair.all_reported(feed), 60)
        await pair.left_as_undisturbed()


async def test_one_that_does_not_stop_is_replaced_and_ends_all_the_same(
    ground: Ground, tmp_path: Path, tell: Tell
) -> None:
    (tmp_path / "hang").mkdir()
    (tmp_path / "hang" / "sitecustomize.py").write_text(NEVER_STOPS)
    with Pair(ground, PYTHONPATH=str(tmp_path / "hang")).running() as pair:
        feed = await pair.flows()
        since = time.monotonic()
        pair.first.request_stop()
        await eventually(partial(pair.written_by, {"w2"}), "the other writes all symbols")
        replaced_sec = time.monotonic() - since
        assert pair.first.running
        await eventually(pair.first.ended, "the worker ends")
        ended_sec = time.monotonic() - since
        tell(f"a worker that did not stop: replaced after {replaced_sec:.1f} s, ended after {ended_sec:.1f} s")
        assert pair.first.exit_code == exit_codes.CRASHED
        _, _, stopping = pair.first.log.read_text().partition("Stopping...")
        assert "still stopping after 15 s: ending all the same" in stopping
        assert "Joined group" not in stopping, "it took partitions back that it cannot serve"
        await asyncio.wait_for(pair.all_reported(feed), 60)
        await pair.left_as_undisturbed()
