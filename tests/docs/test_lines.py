"""Single lines of README.md and docs, typed word for word while what they need runs.

Which lines, and by what one sees that they do what the page says: tests/support/run_commands.py.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from support.desk import Desk
from support.own_network import OwnNetwork
from support.run_commands import ALONE, DEMOS, EXCHANGES, LONG, TAKEOVER, THE_PARTS, WITH_USERS, Typed
from support.usual_ports import READY
from support.workers import eventually

pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]


async def test_the_parts_run_by_themselves_and_what_they_record_can_be_played(
    network: OwnNetwork, tmp_path: Path
) -> None:
    desk = Desk(network, tmp_path)
    desk.env |= {"BINANCE_HTTP_URL": "http://127.0.0.1:9080", "BINANCE_WS_URL": "ws://127.0.0.1:9080"}
    async with running(desk, "kafka", tmp_path / "kafka"):
        async with running(desk, "redis", tmp_path / "redis"):
            await desk.play(THE_PARTS)
        async with running(desk, "redis", tmp_path / "redis-with-users", give_passwords(desk.scratch)):
            await desk.play(WITH_USERS)
    await desk.play(EXCHANGES)


@pytest.mark.usefixtures("tape_path")
async def test_what_needs_no_system_runs_without_one(network: OwnNetwork, tmp_path: Path) -> None:
    await Desk(network, tmp_path).play(ALONE)


@pytest.mark.usefixtures("tape_path")
@pytest.mark.parametrize("demo", DEMOS, ids=lambda demo: demo.line)
async def test_a_demo(demo: Typed, network: OwnNetwork, tmp_path: Path) -> None:
    await Desk(network, tmp_path).play([[demo]])


async def test_another_worker_takes_over_from_one_that_is_killed_by_name(network: OwnNetwork, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("pkill goes by name: it needs a world of its own, and only root may make one")
    desk = Desk(network, tmp_path)
    demo, kill = TAKEOVER

    async def writers() -> set[str]:
        body = network.get("127.0.0.1:8080/reports?symbols=BTCUSDT,ETHUSDT,SOLUSDT&detail=full")
        reports = json.loads(body)["reports"].values() if body else []
        return {report["writer"]["nodeId"] for report in reports if report}

    async def by_two() -> bool:
        return await writers() == {"w1", "w2"}

    async def by_one() -> bool:
        return await writers() == {"w2"}

    with desk.terminal(in_project=True, own_processes=True) as first:
        first.type(demo.line)
        await eventually(by_two, "both workers write")
        with desk.terminal(in_project=True, beside=first) as second:
            second.type(kill.line)
            await eventually(second.ended, "pkill has ended")
        await eventually(by_one, "the other one writes all reports")


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("typed", LONG, ids=lambda typed: typed.line)
async def test_a_command_that_takes_minutes(typed: Typed, network: OwnNetwork, tmp_path: Path) -> None:
    await Desk(network, tmp_path).play([[typed]], limit_sec=3600)


@asynccontextmanager
async def running(desk: Desk, *server: str | Path) -> AsyncIterator[None]:
    """Have a server run at its usual port (`support.usual_ports`)."""
    with desk.terminal(in_project=True) as terminal:
        terminal.type(f"PYTHONPATH=.:tests python -m support.usual_ports {' '.join(map(str, server))}")

        async def ready() -> bool:
            assert not await terminal.over(), terminal.everything
            return READY in terminal.output

        await eventually(ready, f"{server[0]} runs")
        yield
        await asyncio.to_thread(terminal.close)


def give_passwords(folder: Path) -> Path:
    """Do what the page says with the file of users; return the file with passwords in it."""
    text = (folder / "deploy" / "redis-users.acl").read_text()
    for name in ("reader", "worker"):
        text = text.replace(f"CHANGE-THE-{name.upper()}-PASSWORD", f"word-of-the-{name}")
        (folder / f"{name}-password").write_text(f"word-of-the-{name}\n")
    users = folder / "users.acl"
    users.write_text(text)
    return users
