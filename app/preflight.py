"""What a worker makes sure of before it joins the group.

Joining rebalances everybody. A worker that would end a moment later, because a port is taken or its data folder
cannot be used, must therefore not join at all; and one that disagrees with the topics about partitions would
put symbols where nobody looks for them.
"""

import asyncio
import fcntl
import os
from contextlib import suppress
from pathlib import Path

from aiokafka.errors import KafkaError

from app import topics
from app.settings import Settings
from app.stack.ports import is_free

_KAFKA_LIMIT_SEC = 5.0


class PreflightError(Exception):
    """One line that names what is in the way and what to do."""


def check(config: Settings, web_port: int) -> int:
    """Check ports, data folder and topics; return the data folder's lock, to be kept open.

    Raises:
        PreflightError: the worker must not start.
    """
    for name, port in (("WORKER_WEB_PORT", web_port), ("NT_METRICS_PORT", config.nt_metrics_port)):
        if not is_free(port):
            raise PreflightError(f"{name}={port} is taken: every worker of a host needs ports of its own")
    lock = _lock(Path(config.worker_data_dir))
    # A broker that is away is no reason to stop: the worker waits for it.
    with suppress(KafkaError, OSError, TimeoutError):
        problem = asyncio.run(asyncio.wait_for(topics.problem(config), _KAFKA_LIMIT_SEC))
        if problem:
            raise PreflightError(problem)
    return lock


def _lock(folder: Path) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise PreflightError(f"WORKER_DATA_DIR={folder} cannot be used: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise PreflightError(
            f"WORKER_DATA_DIR={folder} is in use: every worker of a host needs a folder of its own"
        ) from None
    return lock
