"""Pauses between tries."""

from itertools import islice

from producer.backoff import delays


def test_pauses_double_up_to_the_longest() -> None:
    bounds = [0.25, 0.5, 1.0, 2.0, 2.0, 2.0]
    for delay, bound in zip(islice(delays(0.25, 2.0), 6), bounds, strict=True):
        assert bound / 2 <= delay <= bound
