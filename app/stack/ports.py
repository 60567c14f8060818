"""The ports of the system, all on loopback, and free ones for tests.

Each service has a port of its own by default. `PORT_BASE=20000` moves all of them into one block:

| service | default | in a block |
|---|---|---|
| reader | 8080 | base |
| exchange | 9080 | base + 1 |
| producer (/health, /metrics) | 9081 | base + 2 |
| Kafka | 19092 | base + 3 |
| Kafka's controller | 19093 | base + 4 |
| Redis | 16379 | base + 5 |
| Faust's web port of worker n = 0, 1, … | 6066 + n | base + 100 + n |
| /metrics of worker n | 9101 + n | base + 200 + n |
"""

import errno
import os
import random
import socket
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from app.stack.errors import StackError

LOOPBACK: Final = "127.0.0.1"
MAX_WORKERS: Final = 100
_BLOCK: Final = 300
_LOWEST: Final = 1024
_CONNECTIONS: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST_OF_CONNECTIONS: Final = 32768
_FOR_TESTS: Final = 4000
# The last that were given: their servers may not listen yet.
_given: Final = deque[int](maxlen=500)


@dataclass(frozen=True, slots=True)
class Ports:
    """Port numbers by service; `worker_web` and `worker_metrics` are those of the first worker."""

    reader: int = 8080
    exchange: int = 9080
    producer: int = 9081
    kafka: int = 19092
    kafka_controller: int = 19093
    redis: int = 16379
    worker_web: int = 6066
    worker_metrics: int = 9101

    @classmethod
    def from_base(cls, base: int | None) -> Self:
        """Return the defaults, or with a `base` the block of 300 ports that begins there.

        Raises:
            StackError: the block does not fit into the ports that a user may open.
        """
        if base is None:
            return cls()
        highest = 65536 - _BLOCK
        if not _LOWEST <= base <= highest:
            raise StackError(f"PORT_BASE={base} is not allowed: a whole number from {_LOWEST} to {highest}")
        return cls(base, base + 1, base + 2, base + 3, base + 4, base + 5, base + 100, base + 200)

    def of_worker(self, index: int) -> tuple[int, int]:
        """Return Faust's web port and the metrics port of worker `index`, counted from 0."""
        if not 0 <= index < MAX_WORKERS:
            raise StackError(f"worker {index} is not allowed: at most {MAX_WORKERS} workers, counted from 0")
        return self.worker_web + index, self.worker_metrics + index

    def by_service(self, workers: int = 1) -> dict[str, int]:
        """Return every port that a system with so many workers opens, by the name that messages use."""
        ports = {
            "reader": self.reader,
            "exchange": self.exchange,
            "producer": self.producer,
            "kafka": self.kafka,
            "kafka controller": self.kafka_controller,
            "redis": self.redis,
        }
        for index in range(workers):
            web, metrics = self.of_worker(index)
            ports |= {f"worker {index} web": web, f"worker {index} metrics": metrics}
        return ports

    def require_free(self, workers: int = 1) -> None:
        """Raise StackError, with one line that names the first port of the system that is taken."""
        for service, port in self.by_service(workers).items():
            require_free(port, service)


def require_free(port: int, service: str) -> None:
    """Raise StackError when `port` is taken, naming it, the service that wants it and `PORT_BASE`."""
    if not is_free(port):
        raise StackError(
            f"port {port} ({service}) is taken: stop what listens there, "
            "or move every port with PORT_BASE, for example PORT_BASE=20000"
        )


def is_free(port: int) -> bool:
    """Return whether a server can listen on this loopback port now."""
    with socket.socket() as probe:
        # As servers do it: connections that linger after a restart do not count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def free_ports(count: int) -> list[int]:
    """Return distinct loopback ports that were free a moment ago.

    Not of those that the kernel gives to connections: one of these may be taken before a server listens. Test processes
    that run beside each other have shares of their own.
    """
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    end = _first_of_connections()
    share = range(end - _FOR_TESTS + process, end, processes)
    found: list[int] = []
    for _ in range(10 * len(share)):
        port = random.choice(share)
        if port not in _given and is_free(port):
            _given.append(port)
            found.append(port)
            if len(found) == count:
                return found
    raise StackError(f"not {count} ports are free between {share.start} and {end}")


def _first_of_connections() -> int:
    try:
        return int(_CONNECTIONS.read_text().split()[0])
    except (OSError, ValueError):
        return _LOWEST_OF_CONNECTIONS
