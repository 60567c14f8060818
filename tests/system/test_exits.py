"""How a worker ends: clean, with a code that says why, and leaving nothing to a timeout."""

import asyncio
import sys
from pathlib import Path

import pytest

from app.microstructure.engine import EngineParams, SymbolEngine
from support.markets import trade
from support.workers import Deployment, Worker, eventually

# Raises in the agent itself, outside of all that guards single events.
FAILING = """
import sys
from agents.intake import Intake
take, calls = Intake.take, []
def failing(self, records):
    calls.append(1)
    # Without an epoch there is nothing that it could save.
    if len(calls) >= 3 and any(symbol.epoch is not None for symbol in self._owned.symbols.values()):
        raise RuntimeError("a bug of ours")
    take(self, records)
Intake.take = failing
from app.__main__ import main
sys.argv = ["app", "worker"]
main()
"""


@pytest.fixture
async def deployment(kafka: str, redis_url: str, topic_prefix: str, tmp_path: Path) -> Deployment:
    made = Deployment(kafka, redis_url, topic_prefix, tmp_path)
    await made.create_topics()
    return made


def failing_worker(deployment: Deployment, name: str) -> Worker:
    worker = deployment.worker(name)
    worker._command = [sys.executable, "-c", FAILING]
    return worker


async def test_after_a_fault_in_the_agent_a_worker_saves_leaves_and_says_why(deployment: Deployment) -> None:
    with failing_worker(deployment, "w1") as worker:
        sent = 0
        while worker.running:
            await deployment.send([trade(sent, symbol="BTCUSDT")])
            sent += 1
            await asyncio.sleep(0.02)
        assert worker.exit_code == 4
    log = worker.log.read_text()
    assert "the agent" in log.splitlines()[-1]
    assert "a bug of ours" in log.splitlines()[-1]
    assert "LeaveGroup request succeeded" in log, "others need not wait for its session to time out"
    state = (await deployment.newest_states())["BTCUSDT"]
    saved = SymbolEngine.restore(state, EngineParams()).offset
    assert list((await deployment.committed()).values()) == [saved + 1], "what was applied is saved"
    assert saved + 1 < sent, "what failed is read again"


async def test_a_worker_that_is_told_to_stop_ends_with_code_0_and_leaves_no_process(deployment: Deployment) -> None:
    with deployment.worker("w1") as worker:

        async def ready() -> bool:
            return bool(await worker.partitions())

        await eventually(ready, "partitions are assigned")
        worker.request_stop()
        await eventually(worker.ended, "the worker ends")
        assert worker.exit_code == 0
