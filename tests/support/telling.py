"""What the fixture `tell` gives: a way to tell what was measured on the way, which the end of the run shows."""

from collections.abc import Callable

Tell = Callable[[str], None]
