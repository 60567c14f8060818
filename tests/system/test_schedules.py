"""Whatever befalls workers and broker, the final states are those of an undisturbed run, byte for byte.

`make schedules` plays twenty; SCHEDULES=100 a hundred. Each test is a seed, so a failure can be played again:
`pytest "tests/system/test_schedules.py::test_...[7]"`.
"""

import os

import pytest

from support.ground import Ground
from support.schedules import Run, schedule
from support.telling import Tell

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]

COUNT = int(os.environ.get("SCHEDULES", "3"))


@pytest.mark.parametrize("seed", range(COUNT))
async def test_a_schedule_of_faults_changes_no_state(ground: Ground, seed: int, tell: Tell) -> None:
    outcome = await Run(ground, seed).play()
    tell(f"seed {seed}: {', '.join(map(str, schedule(seed)))}: {outcome}")
