"""A worker that is leaving its group has nothing more to say to the process that leaves for it."""

from collections.abc import Iterator

import pytest

from app.leave_on_death import LeaveOnDeath
from app.settings import load
from app.stack.ports import free_ports


@pytest.fixture
def leaver() -> Iterator[LeaveOnDeath]:
    (port,) = free_ports(1)
    made = LeaveOnDeath(load({"KAFKA_BROKERS": f"127.0.0.1:{port}", "NT_NODE_ID": "w1"}, None))
    yield made
    if made._watcher is not None:
        made._watcher.kill()
        made._watcher.wait()


def test_a_rebalance_while_it_leaves_does_not_disturb_the_leaving(leaver: LeaveOnDeath) -> None:
    leaver.member("w1-before")
    watcher = leaver._watcher
    leaver.leave()
    leaver.member("w1-after")
    assert leaver._watcher is watcher


async def test_the_end_of_the_process_that_leaves_is_no_fault_then(leaver: LeaveOnDeath) -> None:
    leaver.member("w1")
    leaver.leave()
    watcher = leaver._watcher
    assert watcher is not None
    watcher.kill()
    watcher.wait()
    await leaver.look()
    assert leaver.alive
    assert leaver._watcher is watcher
