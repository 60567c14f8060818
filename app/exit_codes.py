"""How a worker ends, besides 0 for one that was told to stop. Producer and reader use the same numbers up to 3."""

from typing import Final

CRASHED: Final = 1
"""Something outside our code's control broke: Faust, the Kafka client, the machine; or a part of the worker without
which it does not work has ended. Starting it again is right."""
BAD_SETTING: Final = 2
"""A setting is not allowed."""
CANNOT_START: Final = 3
"""What no retry mends: a port is taken, the data folder cannot be used, Kafka or Redis refuses us, or topics or the
broker's limits do not fit the settings."""
FAILED: Final = 4
"""The agent failed; the worker saved and committed what it had, and left the group."""
