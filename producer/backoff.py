"""How long to wait before the next try."""

import random
from collections.abc import Iterator


def delays(first: float, longest: float) -> Iterator[float]:
    """Yield seconds without end, doubling from `first` to `longest`.

    Each is drawn from its upper half, so that many who failed together do not come back together.
    """
    delay = first
    while True:
        yield random.uniform(delay / 2, delay)
        delay = min(2 * delay, longest)
