"""What 100 callers see while Redis is in trouble: stopped, slow, emptied, dead, or failed over to its replica.

Reader and writer reach Redis through a proxy each, as through an address that moves with the primary. A trouble begins
1.5 s into a load of 4 s, and is over when Redis can answer again; what comes after that is the servers' own.
"""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from app.stack.redis import RedisServer
from benchmarks.reader_ground import load, servers, written
from benchmarks.reader_result import AT_CALLERS, Trouble, trouble
from support.faults import FaultProxy
from support.workers import eventually

_BEFORE_SEC, _LOAD_SEC, _TROUBLE_SEC = 1.5, 4.0, 1.5


class Ground:
    """A primary with a replica, and the ways of the readers and of the writer to the primary."""

    def __init__(self, folder: Path) -> None:
        self.primary = RedisServer(folder / "first")
        self.replica = RedisServer(folder / "second")
        self.readers_way = FaultProxy(self.primary.port)
        self.writers_way = FaultProxy(self.primary.port)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start all, and stop it."""
        with self.primary, self.replica, self.readers_way, self.writers_way:
            yield

    async def replicate(self) -> None:
        """Make the replica one, and wait until it has all."""
        if not self.replica.running:
            await asyncio.to_thread(self.replica.start)
        primary, replica = Redis.from_url(self.primary.url), Redis.from_url(self.replica.url)
        async with primary, replica:
            await primary.config_set("repl-diskless-sync-delay", "0")
            await primary.replicaof("NO", "ONE")
            await replica.replicaof("127.0.0.1", str(self.primary.port))

            async def linked() -> bool:
                return bool((await replica.info("replication"))["master_link_status"] == "up")

            await eventually(linked, "the replica has all", 20)

    async def freeze(self) -> None:
        """Let it stand still."""
        os.kill(self.primary.process.pid, signal.SIGSTOP)
        await asyncio.sleep(_TROUBLE_SEC)
        os.kill(self.primary.process.pid, signal.SIGCONT)

    async def slow(self, milliseconds: float) -> None:
        """Let its answers take so much longer."""
        self.readers_way.delay(milliseconds / 2)
        await asyncio.sleep(_TROUBLE_SEC)
        self.readers_way.restore()

    async def cut(self) -> None:
        """Close the readers' connections, once."""
        await asyncio.to_thread(self.readers_way.cut)
        await asyncio.to_thread(self.readers_way.restore)

    async def restart(self) -> None:
        """Kill it, and start it again, empty."""
        await asyncio.to_thread(self.primary.kill)
        await asyncio.sleep(0.5)
        await asyncio.to_thread(self.primary.start)

    async def flush(self) -> None:
        """Empty it; the writer's next cycle brings the reports back."""
        async with Redis.from_url(self.primary.url) as client:
            await client.flushall()

    async def fail_over(self) -> None:
        """Kill the primary; half a second later its replica has its place."""
        await asyncio.to_thread(self.primary.kill)
        await asyncio.sleep(0.5)
        self.primary, self.replica = self.replica, self.primary
        async with Redis.from_url(self.primary.url) as client:
            await client.replicaof("NO", "ONE")
        for way in (self.writers_way, self.readers_way):
            await asyncio.to_thread(way.lead_to, self.primary.port)


FAULTS: dict[str, Callable[[Ground], Awaitable[None]]] = {
    "50 ms slower for 1.5 s": lambda ground: ground.slow(50),
    "400 ms slower for 1.5 s": lambda ground: ground.slow(400),
    "frozen for 1.5 s": Ground.freeze,
    "connections cut": Ground.cut,
    "emptied": Ground.flush,
    "killed and started again, empty": Ground.restart,
    "failed over to its replica": Ground.fail_over,
}


async def under_fault(url: str, fault: Callable[[Ground], Awaitable[None]], ground: Ground) -> dict[str, Any]:
    """Let Redis fail under MCP callers, and return what they saw and when the trouble was over."""
    await ground.replicate()
    running = asyncio.create_task(load(url, "mcp", AT_CALLERS, _LOAD_SEC))
    await asyncio.sleep(_BEFORE_SEC)
    await fault(ground)
    healed = time.perf_counter()  # the monotonic clock of the machine: the load's process has the same
    return await running | {"healed": healed}


async def measure(folder: Path, rounds: int, note: Callable[[str], None]) -> list[Trouble]:
    """Do every fault to every server; `note` hears of each."""
    ground, found = Ground(folder), []
    with ground.running():
        async with written(f"redis://127.0.0.1:{ground.writers_way.port}/0"):
            for name, fault in FAULTS.items():
                # Servers of its own for each, since the plain one does not survive all of them.
                with ExitStack() as stack:
                    addresses = servers(stack, f"redis://127.0.0.1:{ground.readers_way.port}/0", folder)
                    for server, url in addresses.items():
                        seen = [await under_fault(url, fault, ground) for _ in range(rounds)]
                        found.append(trouble(name, server, seen))
                        note(f"{name:32} {server:10} longest answer {found[-1].longest_ms:.0f} ms")
    return found
