"""SIGHUP, from the process's first moment on.

It asks to read something again, and it ends a process that does not handle it. The event loop, which is to handle it,
begins only when NautilusTrader has been imported, seconds after the process. So what comes earlier is kept.
"""

import signal
from collections.abc import Callable


class HangUps:
    """Tells of SIGHUP; to be made on the main thread, before anything that takes time."""

    def __init__(self) -> None:
        self._tell: Callable[[], None] | None = None
        self._waiting = False
        signal.signal(signal.SIGHUP, lambda *_: self._come())

    def listen(self, tell: Callable[[], None]) -> None:
        """Call `tell` on the running loop for each from now on, and once if any came before."""
        import asyncio

        self._tell = tell
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._come)
        if self._waiting:
            self._waiting = False
            tell()

    def _come(self) -> None:
        if self._tell is None:
            self._waiting = True
        else:
            self._tell()
