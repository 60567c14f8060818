"""A whole system with a Prometheus on it whose rules are in a hurry, and the faults that alerts are there for."""

import asyncio
import os
import random
import re
import signal
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, cast

from aiohttp import ClientSession

from app.stack.errors import StackError
from app.stack.ports import LOOPBACK, Ports
from app.stack.process import Child
from app.stack.prometheus import Prometheus, targets
from app.stack.system import System, SystemOptions
from support.faults import FaultProxy
from support.observing import Answers, hastened
from support.processes import command_of, descendants
from support.workers import ROOT, eventually

TIMES: Final = 60.0
SYMBOLS: Final = ("BTCUSDT", "ETHUSDT")
_REFUSED: Final = "NOSUCHUSDT"
_SETTINGS: Final = {
    "EXCHANGE_IDLE_MS": "1000",
    # Some two seconds of what the simulated market sends.
    "PRODUCER_QUEUE_LIMIT": "1000",
    # A limit that slow answers stay within, as they must for an alert about them.
    "TIMEOUT_MS": "2000",
}


class LyingLine(FaultProxy):
    """A way to the exchange; while it `lies`, the best quantities that the exchange tells are not those of its book."""

    lies = False

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await super()._pass(cast("asyncio.StreamReader", _Bent(reader, self)), writer)


class _Bent:
    """What a line reads, bent while it lies. The length stays, and so the frames around the text stay true."""

    def __init__(self, reader: asyncio.StreamReader, line: LyingLine) -> None:
        self._reader = reader
        self._line = line

    async def read(self, size: int) -> bytes:
        chunk = await self._reader.read(size)
        if not self._line.lies:
            return chunk
        return re.sub(rb'"B":"(\d)', lambda found: b'"B":"%d' % (1 + int(found[1]) % 9), chunk)


class Watched:
    """Producer, two workers, reader and what they need, with a Prometheus.

    The reader's way to Redis can be slowed, and the producer's to the exchange can lie.
    """

    def __init__(self, folder: Path) -> None:
        self.system = system = System(SystemOptions(SYMBOLS, workers=2, port_base=_free_block()), folder)
        self.slow = FaultProxy(system.ports.redis)
        self.line = LyingLine(system.ports.exchange)
        self._folder = folder
        system.producer = self._child(
            "producer", SYMBOLS=",".join((*SYMBOLS, _REFUSED)), BINANCE_WS_URL=f"ws://{LOOPBACK}:{self.line.port}"
        )
        system.reader = self._child("reader", REDIS_URL=f"redis://{LOOPBACK}:{self.slow.port}/0")
        self._targets = targets(system.ports, 2)
        self.prometheus = Prometheus(
            folder / "prometheus",
            self._targets,
            rules=hastened(TIMES, folder / "rules"),
            interval="500ms",
        )
        self.answers = Answers(self.prometheus.url)

    @contextmanager
    def running(self) -> Iterator["Watched"]:
        """Run everything, with somebody who asks for reports all the time."""
        system, done = self.system, threading.Event()
        caller = threading.Thread(target=self._ask, args=(done,), name="caller")
        try:
            with self.slow, self.line:
                system.start_servers()
                with ThreadPoolExecutor() as pool:
                    parts = (self.prometheus.start, system.start_exchange, system.start_workers, system.start_reader)
                    for started in [pool.submit(part) for part in parts]:
                        started.result()
                system.start_producer()
                caller.start()
                try:
                    yield self
                finally:
                    done.set()
                    caller.join()
        finally:
            self.prometheus.stop()
            for child in (system.producer, system.exchange, *system.workers, system.reader):
                child.kill()
            system.redis.kill()
            system.kafka.kill()

    async def fires(self, *names: str) -> None:
        """Wait until these alerts fire, and say so in words."""
        await eventually(lambda: self._fire(set(names)), f"{', '.join(names)} fire: see {self._folder}")
        said = [alert["summary"] for alerts in (await self.answers.firing()).values() for alert in alerts]
        assert not [summary for summary in said if "<" in summary], "a template that failed"

    async def quiet(self) -> None:
        """Wait until no alert fires and none is about to."""
        await eventually(self._is_quiet, f"no alert is left: see {self._folder}")

    async def page(self, job: str) -> str:
        """Return what the first process of a job exports."""
        async with ClientSession() as session, session.get(f"http://{self._targets[job][0]}/metrics") as answer:
            return await answer.text()

    @contextmanager
    def frozen(self, child: Child) -> Iterator[None]:
        """Let a process hang, as a host would that is overloaded."""
        pid = _working(child)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def _child(self, name: str, **env: str) -> Child:
        command = [sys.executable, "-m", "app.cli", name]
        env = self.system.environment | _SETTINGS | env
        return Child(name, command, log=self._folder / f"{name}.log", env=env, cwd=ROOT)

    async def _fire(self, names: set[str]) -> bool:
        return names <= (await self.answers.firing()).keys()

    async def _is_quiet(self) -> bool:
        return not (await self.answers.get("alerts"))["alerts"]

    def _ask(self, done: threading.Event) -> None:
        symbols = (*SYMBOLS, _REFUSED)
        while not done.wait(0.05):
            symbol = random.choice(symbols)
            with suppress(OSError):
                address = f"{self.system.reader_url}/get_report?symbol={symbol}"
                with urllib.request.urlopen(address, timeout=2) as answer:
                    answer.read()


def _working(child: Child) -> int:
    """The process that does a child's work, whatever watches over it."""
    workers = [pid for pid in descendants(child.pid) if b"\0-m\0app\0worker" in command_of(pid)]
    return workers[0] if workers else child.pid


def _free_block() -> int:
    deadline = time.monotonic() + 10
    while True:
        base = random.randrange(20_000, 32_000)
        try:
            Ports.from_base(base).require_free(2)
        except StackError:
            assert time.monotonic() < deadline, "no free ports"
            continue
        return base
