"""Where a sample of the main thread counts; the sampler's run is in `test_soak`."""

import sys
from pathlib import Path
from types import CodeType, FrameType

from producer import wire
from producer.soak import stages
from producer.soak.stages import LOOP, STAGES, Sampler

ROOT = Path(__file__).parents[3]


def frame_in(path: str) -> FrameType:
    """Return a frame of a function in that file, called by one that belongs to no stage."""
    code: CodeType = compile("import sys\nframe = sys._getframe()", path, "exec")
    names: dict[str, FrameType] = {}
    exec(code, names)
    return names["frame"]


def test_a_sample_counts_for_the_innermost_function_that_belongs_to_a_stage() -> None:
    sampler = Sampler()
    sampler.note(sys._getframe())
    sampler.note(None)
    assert sampler.counts == {LOOP: 2}
    sampler.note(frame_in(wire.__file__))
    assert sampler.counts == {LOOP: 2, "actor: event as JSON": 1}


def test_every_stage_is_listed_and_every_file_of_ours_that_is_named_exists() -> None:
    assert set(stages._STAGES.values()) | {LOOP} == set(STAGES)
    for part in stages._STAGES:
        if part.startswith("producer/"):
            assert (ROOT / part).is_file(), part
