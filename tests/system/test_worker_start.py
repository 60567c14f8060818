"""What stops a worker at its start: one line that names it, before it joins the group."""

from functools import partial

import pytest

from support.workers import PARTITIONS, Deployment, Worker, eventually

pytestmark = pytest.mark.stack


@pytest.mark.parametrize(("name", "value"), [("TIMEOUT_MS", "soon"), ("REDIS_URL", "nowhere")])
async def test_a_bad_setting_stops_a_worker_with_one_line(deployment: Deployment, name: str, value: str) -> None:
    with deployment.worker("w1", **{name: value}) as worker:
        await eventually(lambda: _ended(worker), "the worker ends")
    assert worker.exit_code == 2
    assert worker.log.read_text().splitlines()[0].startswith(f"{name}='{value}' is not allowed: ")
    assert len(worker.log.read_text().splitlines()) == 1


async def test_a_worker_that_could_not_work_says_why_before_it_joins(deployment: Deployment) -> None:
    with deployment.worker("w1") as first:

        async def up() -> bool:
            return bool((await first.health()).get("partitions")) and bool(await first.metrics())

        await eventually(up, "the first worker is up")
        refused = {
            "WORKER_DATA_DIR": (str(deployment.folder / "w1"), "is in use: every worker of a host"),
            "NT_METRICS_PORT": (str(first.metrics_port), "is taken: every worker of a host"),
            "WORKER_WEB_PORT": (str(first.web_port), "is taken: every worker of a host"),
            "EVENTS_PARTITIONS": ("7", f"has {PARTITIONS} partitions, EVENTS_PARTITIONS=7: set {PARTITIONS}"),
            "EVENTS_TOPIC": ("absent", "topic absent is missing: run `context8 topics`"),
        }
        for name, (value, reason) in refused.items():
            with deployment.worker(f"refused-{name}", **{name: value}) as second:
                await eventually(partial(_ended, second), "the worker ends", limit_sec=20)
            assert second.exit_code == 3
            assert reason in second.log.read_text()
            assert len(second.log.read_text().splitlines()) == 1
        assert (await first.health())["partitions"] == list(range(PARTITIONS))


async def test_a_data_folder_that_cannot_be_used_is_named(deployment: Deployment) -> None:
    (deployment.folder / "a-file").write_text("")
    with deployment.worker("w1", WORKER_DATA_DIR=str(deployment.folder / "a-file")) as worker:
        await eventually(partial(_ended, worker), "the worker ends", limit_sec=20)
    assert "a-file cannot be used: " in worker.log.read_text()


async def _ended(worker: Worker) -> bool:
    return not worker.running
