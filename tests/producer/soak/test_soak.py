"""A soak of some seconds: the tool itself, so that the run of ten minutes is only a run."""

import asyncio
import re
import sys
from pathlib import Path

import pytest

from producer.soak.stages import STAGES

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.stack


async def test_a_load_and_every_stage_are_told(kafka: str) -> None:
    assert kafka, "the machine can run a Kafka, which the soak starts for itself"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "producer.soak", "--symbols", "4", "--rate", "200", "--seconds", "3",
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(120):
        out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    text = out.decode()
    found = re.search(r"\| 1 × 4 × 200 \| ([0-9,]+) \|.*\| 100\.0000% \| 0 \|", text)
    assert found, text
    assert int(found[1].replace(",", "")) > 500
    assert sum(stage in text for stage in STAGES) >= len(STAGES) - 2, "a stage of next to no cost may be left out"
    assert errors.decode().count("ended with 0;") == 1
