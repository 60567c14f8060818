"""Data folders that cannot be used: what can be made again from the changelog is, and where not the worker says why."""

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from app import exit_codes
from app.microstructure.events import Event
from support.worker_markets import SYMBOLS, interleaved, reference
from support.workers import Deployment, Worker, eventually

pytestmark = pytest.mark.stack


def _damage(suffix: str, start: int) -> Callable[[Path], None]:
    """Return what overwrites all files of a kind from byte `start` on, as a power cut may leave them."""

    def damage(folder: Path) -> None:
        found = [each for each in folder.iterdir() if each.name.startswith(suffix) or each.suffix == suffix]
        assert found, f"no {suffix} in {sorted(each.name for each in folder.iterdir())}"
        for each in found:
            whole = each.read_bytes()
            each.write_bytes(whole[:start] + b"\xa5" * max(64, len(whole) - start))

    return damage


@pytest.mark.parametrize(
    "harm",
    [_damage("MANIFEST-", 20), _damage(".log", 40)],
    ids=["manifest", "log"],
)
async def test_a_damaged_folder_is_made_again_from_the_changelog(
    deployment: Deployment, harm: Callable[[Path], None]
) -> None:
    events = interleaved(60)
    half = len(events) // 2
    with deployment.worker("w1") as worker:
        await deployment.send(events[:half])
        await _states_are(deployment, events[:half])
        worker.kill()
    harm(deployment.folder / "w1" / "snapshots")
    with deployment.worker("w1") as worker:
        await deployment.send(events[half:])
        await _states_are(deployment, events)
        assert await _complete(worker)
        assert worker.stop() == 0


async def test_a_folder_that_goes_while_the_worker_runs_costs_no_state(deployment: Deployment) -> None:
    events = interleaved(60)
    half = len(events) // 2
    with deployment.worker("w1") as worker:
        await deployment.send(events[:half])
        await _states_are(deployment, events[:half])
        for each in (deployment.folder / "w1" / "snapshots").iterdir():
            each.unlink()
        await deployment.send(events[half:])
        await _states_are(deployment, events)
        worker.kill()
    with deployment.worker("w1") as worker:

        async def here() -> bool:
            symbols: dict[str, Any] = (await worker.health()).get("symbols", {})
            return symbols.keys() == set(SYMBOLS)

        await eventually(here, "the symbols are back")
        assert await _complete(worker)
        assert worker.stop() == 0
    await _states_are(deployment, events)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a disk of 4 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("only root can mount a small disk")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


async def test_a_disk_that_is_full_ends_the_worker_with_one_line_and_loses_nothing(
    deployment: Deployment, small_disk: Path
) -> None:
    events = interleaved(1200)
    settings = {"WORKER_DATA_DIR": str(small_disk / "w1")}
    with deployment.worker("w1", **settings) as worker:
        await deployment.send(events[:400])
        await _states_are(deployment, events[:400])
        _fill(small_disk)
        sending = asyncio.create_task(deployment.send(events[400:], delay=0.003))
        await eventually(worker.ended, "the worker ends", limit_sec=40)
        assert worker.exit_code == exit_codes.CANNOT_START
        await sending
    folder = small_disk / "w1" / "snapshots"
    assert f"the data folder {folder} cannot be used: IO error: No space left on device" in worker.log.read_text()
    (small_disk / "filler").unlink()
    with deployment.worker("w1", **settings) as worker:
        await _states_are(deployment, events)
        assert await _complete(worker)
        assert worker.stop() == 0


def _fill(disk: Path) -> None:
    with (disk / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while filler.write(bytes(4096)):
            pass


async def _states_are(deployment: Deployment, events: list[Event]) -> None:
    """Wait until the changelog has the states of engines that nobody disturbed."""
    wanted = {symbol: reference(symbol, events) for symbol in SYMBOLS}

    async def same() -> bool:
        return await deployment.newest_states() == wanted

    await eventually(same, "the changelog has every state")


async def _complete(worker: Worker) -> bool:
    symbols: dict[str, Any] = (await worker.health())["symbols"]
    incomplete: dict[str, Any] = {name: each["incomplete"] for name, each in symbols.items()}
    return incomplete == dict.fromkeys(SYMBOLS)
