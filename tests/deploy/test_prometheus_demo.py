"""`context8 demo --observe` as people run it."""

import os
import re
import signal
from pathlib import Path

import aiohttp
import pytest

from support.demos import demo
from support.observing import Answers, program
from support.workers import eventually


@pytest.mark.stack
async def test_a_demo_that_is_observed_prints_where_prometheus_is_and_prometheus_sees_all_of_it(tmp_path: Path) -> None:
    program("prometheus")
    child, _ = demo(tmp_path, "--observe", "--symbols", "BTCUSDT")

    async def printed() -> str | None:
        found = re.search(r"http://127\.0\.0\.1:\d+/(classic/)?alerts", child.log.read_text())
        return found[0] if found else None

    async def ended() -> bool:
        return not child.running

    with child:
        page = await eventually(printed, "the address of Prometheus' alerts is printed")
        async with aiohttp.ClientSession() as session, session.get(page) as shown:
            assert shown.status == 200
            assert "Prometheus" in await shown.text()
        answers = Answers(re.sub(r"/(classic/)?alerts$", "", page))

        async def all_up() -> bool:
            return {sample["metric"]["job"] for sample in await answers.query("up == 1")} == {
                "context8-producer",
                "context8-worker",
                "context8-reader",
            }

        await eventually(all_up, "producer, worker and reader are scraped")
        await eventually(lambda: answers.query("context8:report_age_ms:max"), "the project's rules are evaluated")
        os.kill(child.pid, signal.SIGINT)
        await eventually(ended, "Ctrl-C ends the demo")
    assert child.exit_code in (0, 130), child.log.read_text()


async def test_without_a_prometheus_the_demo_says_what_to_install(tmp_path: Path) -> None:
    child, _ = demo(tmp_path, "--observe", PATH=str(tmp_path))

    async def ended() -> bool:
        return not child.running

    with child:
        await eventually(ended, "the demo ends")
    assert child.exit_code == 1
    said = child.log.read_text().strip()
    assert said.startswith("context8 demo: prometheus is not installed: run scripts/setup-prometheus")
    assert len(said.splitlines()) == 1
