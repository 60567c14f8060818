"""How many examples a test of many takes: `make fuzz` lets it take far more, and others each time."""

import os
from typing import Final

TIMES: Final = int(os.environ.get("FUZZ", "1"))
"""`FUZZ=25`: 25 times as many as usual."""


def examples(usual: int) -> int:
    """Return how many to take in place of `usual`."""
    return usual * TIMES
