"""Values of command-line options that more than one command takes."""

import argparse
from collections.abc import Callable

DAY_SEC = 86_400


def seconds(least: float) -> Callable[[str], float]:
    """Return a reader of seconds from `least` to a day, which refuses anything else by name."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if not least <= value <= DAY_SEC:
            raise argparse.ArgumentTypeError(f"{text!r} is not allowed: seconds from {least:g} to {DAY_SEC}")
        return value

    return read
