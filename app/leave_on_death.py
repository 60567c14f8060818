"""Leaves the consumer group in the name of a worker that died, so that others take over at once.

A broker gives a dead member's partitions away when its session times out. The death of a process can be told at
once: the kernel closes its pipes. So each worker starts this small process, tells it over a pipe who it is in the
group, and when the pipe ends, for whatever reason, a LeaveGroup request is sent for that member. The session
timeout then only covers the loss of a host and hangs.

The watcher runs in a session of its own, so that what is sent to the worker's process group does not reach it. Where
everything of a host or container dies together, the session timeout remains.
"""

import asyncio
import atexit
import logging
import os
import subprocess
import sys
import time
from contextlib import suppress
from typing import Final

from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.errors import GroupLoadInProgressError, KafkaError, NotCoordinatorForGroupError, for_code
from aiokafka.protocol.group import LeaveGroupRequest

from app import logs, telemetry
from app.security.kafka import kafka_client
from app.settings import Settings, load

logger = logging.getLogger(__name__)

_TRY_FOR_SEC: Final = 10.0
_PAUSE_SEC: Final = 0.1
# Where no broker answers, the watcher goes on without us.
_END_SEC: Final = 3.0


class LeaveOnDeath:
    """The worker's end of the pipe."""

    def __init__(self, config: Settings) -> None:
        self._config = config
        self._watcher: subprocess.Popen[bytes] | None = None
        self._told = ""
        self._left = False

    @property
    def alive(self) -> bool:
        """Whether somebody would leave the group for this worker, or it is not in it."""
        return not self._told or self._left or (self._watcher is not None and self._watcher.poll() is None)

    def member(self, member_id: str) -> None:
        """Say who this worker is in the group; one that is leaving need not."""
        if self._left or (member_id == self._told and self.alive):
            return
        self._told = member_id
        try:
            if self._watcher is None or self._watcher.poll() is not None:
                self._watcher = self._start()
            if self._watcher.stdin is not None:
                self._watcher.stdin.write(f"{member_id}\n".encode())
                self._watcher.stdin.flush()
        except OSError as error:
            # The worker does its work without; its partitions would wait for the session timeout.
            telemetry.ERRORS.labels("worker", "leave_on_death").inc()
            logger.warning("nobody will leave the group for this worker if it dies: %s", error)

    async def look(self) -> None:
        """Start the watcher again if it has died."""
        if not self.alive:
            telemetry.ERRORS.labels("worker", "leave_on_death").inc()
            logger.warning("the process that leaves the group for this worker has died, starting another")
            self.member(self._told)

    def leave(self) -> None:
        """Let the group be left now: the worker stops, and does not get to it."""
        self._left = True
        if self._watcher is not None and self._watcher.stdin is not None:
            self._watcher.stdin.close()

    def _start(self) -> "subprocess.Popen[bytes]":
        watcher = subprocess.Popen(
            [sys.executable, "-m", "app.leave_on_death"],
            stdin=subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, "NT_NODE_ID": self._config.node_id},
        )
        atexit.register(_end, watcher)
        return watcher


def _end(watcher: "subprocess.Popen[bytes]") -> None:
    """Let the watcher end with the worker; to leave a second time does no harm."""
    with suppress(OSError, subprocess.TimeoutExpired):
        if watcher.stdin is not None:
            watcher.stdin.close()
        watcher.wait(_END_SEC)


class _Watcher:
    """Knows the group's coordinator before it is needed."""

    def __init__(self, config: Settings) -> None:
        self._group = config.worker_group
        self._client = AIOKafkaClient(**kafka_client(config))
        self._connected = False

    async def wait_and_leave(self, pipe: asyncio.StreamReader) -> None:
        """Follow the pipe to its end, which is the worker's, then leave the group."""
        member = ""
        while line := await pipe.readline():
            member = line.decode().strip()
            await self._connect()
        if member:
            await self._leave(member)
        await self._client.close()

    async def _connect(self) -> int | None:
        """Return the coordinator's node, `None` while it cannot be reached."""
        try:
            if not self._connected:
                await self._client.bootstrap()
                self._connected = True
            node: int = await self._client.coordinator_lookup(CoordinationType.GROUP, self._group)
            await self._client.ready(node, group=ConnectionGroup.COORDINATION)
        except (KafkaError, OSError):
            return None
        return node

    async def _leave(self, member: str) -> None:
        began = time.monotonic()
        while time.monotonic() < began + _TRY_FOR_SEC:
            if await self._has_left(member):
                return
            await asyncio.sleep(_PAUSE_SEC)
        logger.warning("%s could not leave the group within %.0f s", member, _TRY_FOR_SEC)

    async def _has_left(self, member: str) -> bool:
        node = await self._connect()
        if node is None:
            return False
        request = LeaveGroupRequest(self._group, member)
        try:
            answer = await self._client.send(node, request, group=ConnectionGroup.COORDINATION)
        except (KafkaError, OSError):
            return False
        if for_code(answer.error_code) in (NotCoordinatorForGroupError, GroupLoadInProgressError):
            return False
        if answer.error_code == 0:
            logger.warning("the worker died, or does not stop: %s was made to leave the group", member)
        return True


async def _run(config: Settings) -> None:
    loop, pipe = asyncio.get_running_loop(), asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(pipe), sys.stdin)
    await _Watcher(config).wait_and_leave(pipe)


if __name__ == "__main__":
    settings = load()
    logs.configure("leave_on_death", settings.node_id, settings.log_level, settings.secret_values)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what matters of it is said here
    asyncio.run(_run(settings))
