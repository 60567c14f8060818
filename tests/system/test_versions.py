"""Workers of two state versions in one group: a rolling upgrade and a rollback, in which nothing is silently empty.

A worker of tomorrow is today's with a higher `STATE_VERSION`, which a `sitecustomize` sets before anything else runs.
"""

from pathlib import Path
from typing import Any

import pytest

from support.worker_markets import SYMBOLS, interleaved, reference
from support.workers import ROOT, Deployment, Worker, eventually

pytestmark = pytest.mark.stack

TOMORROW = '''"""Makes this process one of tomorrow."""

from app.microstructure import engine

engine.STATE_VERSION += 1
'''


@pytest.fixture
def tomorrow(tmp_path: Path) -> dict[str, str]:
    """Give the environment of a worker of the next state version."""
    folder = tmp_path / "tomorrow"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(TOMORROW)
    return {"PYTHONPATH": f"{folder}:{ROOT}:{ROOT / 'mcp'}"}


async def test_an_upgrade_begins_anew_and_says_so_and_a_rollback_goes_on_where_it_was(
    deployment: Deployment, tomorrow: dict[str, str]
) -> None:
    events = interleaved(90)
    third = len(events) // 3
    with deployment.worker("old") as old:
        await deployment.send(events[:third])
        await _states_are(deployment, events[:third])
        with deployment.worker("new", **tomorrow) as new:
            await eventually(new.partitions, "the new worker has joined")
            assert old.stop() == 0
            await deployment.send(events[third : 2 * third])
            await eventually(lambda: _all_say(new, "state_unreadable"), "every symbol says that it began anew")
            assert await new.metric("context8_errors_total") >= len(SYMBOLS)
            log = (deployment.folder / "new.log").read_text()
            assert log.count("state unreadable, begins empty: there are only snapshots of another version") == len(
                SYMBOLS
            )
            with deployment.worker("old") as back:
                await eventually(back.partitions, "the old worker has joined again")
                assert new.stop() == 0
                await deployment.send(events[2 * third :])
                await _states_are(deployment, events)
                await eventually(lambda: _all_say(back, None), "nothing is missing from any symbol")
                assert back.stop() == 0


async def test_in_a_mixed_group_each_symbol_is_whole_or_says_what_it_is(
    deployment: Deployment, tomorrow: dict[str, str]
) -> None:
    """While the upgrade rolls, partitions go to and fro between versions."""
    events = interleaved(90)
    third = len(events) // 3
    with deployment.worker("old") as old, deployment.worker("new", **tomorrow) as new:
        await deployment.send(events[:third])
        await eventually(lambda: _share(old, new), "both work")
        old.kill()
        await deployment.send(events[third : 2 * third])
        await eventually(lambda: _has_all(new), "the new worker has everything")
        health = await new.health()
        with old:
            await eventually(lambda: _share(old, new), "the old one is back")
            await deployment.send(events[2 * third :])
            new.kill()
            await eventually(lambda: _has_all(old), "the old worker has everything")

            async def whole_or_said() -> bool:
                said = (await old.health())["symbols"]
                states = await deployment.newest_states()
                return all(
                    said[name]["incomplete"] is not None or states.get(name) == reference(name, events)
                    for name in SYMBOLS
                )

            await eventually(whole_or_said, "each symbol is whole, or says what it is")
            assert old.stop() == 0
    assert {each["incomplete"] and each["incomplete"]["reason"] for each in health["symbols"].values()} <= {
        None,
        "state_unreadable",
    }


async def _states_are(deployment: Deployment, events: list[Any]) -> None:
    wanted = {symbol: reference(symbol, events) for symbol in SYMBOLS}

    async def same() -> bool:
        return await deployment.newest_states() == wanted

    await eventually(same, "the changelog has every state")


async def _has_all(worker: Worker) -> bool:
    return len((await worker.health()).get("symbols", {})) == len(SYMBOLS)


async def _share(*workers: Worker) -> bool:
    return all([await worker.partitions() for worker in workers])


async def _all_say(worker: Worker, reason: str | None) -> bool:
    symbols = (await worker.health()).get("symbols", {})
    said = {name: each["incomplete"] and each["incomplete"]["reason"] for name, each in symbols.items()}
    return said == dict.fromkeys(SYMBOLS, reason)
