"""How a worker ends, besides 0 for one that was told to stop."""

from typing import Final

CRASHED: Final = 1
"""Something outside our code's control broke: Faust, the Kafka client, the machine."""
BAD_SETTING: Final = 2
"""A setting is not allowed."""
CANNOT_START: Final = 3
"""A port is taken, the data folder cannot be used, or topics or the broker's limits do not fit the settings."""
FAILED: Final = 4
"""The agent failed; the worker saved and committed what it had, and left the group."""
