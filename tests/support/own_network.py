"""A loopback of its own, for processes that use fixed ports: nothing else on the machine listens there.

A network namespace belongs to a thread. So one thread enters a new one, and what it starts, and the sockets that it
opens, live in there. Where the kernel refuses (it wants root, or a container with that right), everything happens in
the machine's own network, and the ports have to be free.
"""

import fcntl
import os
import socket
import struct
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Self

_SET_FLAGS: Final = 0x8914  # SIOCSIFFLAGS of linux/sockios.h
_UP: Final = 0x1  # IFF_UP of linux/if.h


class OwnNetwork:
    """A thread in a network of its own.

    Attributes:
        isolated: whether it is one; otherwise it is the machine's.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="own-network")
        self.isolated = self.run(_enter)

    def run[T](self, call: Callable[[], T]) -> T:
        """Return what `call` returns in there."""
        return self._thread.submit(call).result()

    def get(self, address: str) -> bytes | None:
        """Return the body of a good answer of a server in there, `None` while there is none."""
        return self.run(lambda: _get(f"http://{address}"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()


def _enter() -> bool:
    try:
        os.unshare(os.CLONE_NEWNET)
    except OSError:
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SET_FLAGS, struct.pack("16sh22x", b"lo", _UP))
    return True


def _get(url: str) -> bytes | None:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            body: bytes = answer.read()
    except OSError:
        return None
    return body
