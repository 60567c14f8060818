"""Faults from outside: a TCP proxy on loopback that fails as networks do, and a process of which one thread hangs.

The proxy runs in a thread with an event loop of its own, so that a test that blocks does not hold the traffic up. A
proxied Kafka needs a listener whose advertised address is the proxy's (`KafkaBroker(via=...)`), because clients
connect to the address that the broker tells them, whatever they bootstrapped from.

A signal stops a process as a whole. One thread alone is stopped as a debugger does it, with Linux' ptrace.
"""

import asyncio
import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, Self

from app.stack.ports import LOOPBACK, free_ports

_CHUNK = 65_536

# Of linux/ptrace.h and linux/wait.h.
_SEIZE: Final = 0x4206
_INTERRUPT: Final = 0x4207
_DETACH: Final = 17
_WAIT_FOR_ALL: Final = 0x40000000


class FaultProxy:
    """Passes `port` on to `upstream`, both on loopback, until told otherwise; a context manager.

    A connection lives through `freeze` and `delay`: what was sent meanwhile arrives late, in order, as it does when
    TCP sends again after a partition has healed.
    """

    def __init__(self, upstream: int, port: int | None = None) -> None:
        self.port = port or free_ports(1)[0]
        self._upstream = upstream
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._is_cut = False
        self._delay_sec = 0.0

    def lead_to(self, upstream: int) -> None:
        """Pass new connections on to another port of loopback, and drop those that there are: a failover."""
        self._upstream = upstream
        self._call(self._drop)

    def cut(self) -> None:
        """Drop every connection, and each new one at once."""
        self._call(self._cut)

    def freeze(self) -> None:
        """Accept connections and bytes, and pass nothing on: a network partition."""
        self._call(self._flowing.clear)

    def delay(self, milliseconds: float) -> None:
        """Hold every byte back for so long, each way."""
        self._delay_sec = milliseconds / 1000

    def restore(self) -> None:
        """Pass everything again, what was held back first."""
        self._delay_sec = 0.0
        self._call(self._mend)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(5)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def _call(self, act: Callable[[], None]) -> None:
        async def call() -> None:
            act()

        asyncio.run_coroutine_threadsafe(call(), self._loop).result(5)

    async def _listen(self) -> None:
        self._mend()
        self._server = await asyncio.start_server(self._serve, LOOPBACK, self.port, reuse_address=True)

    def _mend(self) -> None:
        self._is_cut = False
        self._flowing.set()

    def _cut(self) -> None:
        # The port stays open: closing it could lose a connection that is just being accepted.
        self._is_cut = True
        self._drop()

    def _drop(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _close(self) -> None:
        self._cut()
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if self._is_cut:
            writer.transport.abort()
            return
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            await self._join(reader, writer)
        except asyncio.CancelledError:
            pass  # the proxy closes
        finally:
            self._writers.discard(writer)
            self._tasks.discard(task)
            writer.transport.abort()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._flowing.wait()
        with suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection(LOOPBACK, self._upstream)
            self._writers.add(far_writer)
            ways = [
                asyncio.ensure_future(self._pass(reader, far_writer)),
                asyncio.ensure_future(self._pass(far_reader, writer)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
                self._writers.discard(far_writer)
                far_writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Move bytes one way; each chunk has its own due time, so that a delay does not cost throughput."""
        held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(64)
        sending = asyncio.ensure_future(self._send(held, writer))
        try:
            with suppress(OSError):
                while chunk := await reader.read(_CHUNK):
                    await held.put((self._loop.time() + self._delay_sec, chunk))
            await held.put((0.0, b""))
            await sending
        finally:
            sending.cancel()

    async def _send(self, held: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while True:
                due, chunk = await held.get()
                await asyncio.sleep(max(0.0, due - self._loop.time()))
                await self._flowing.wait()
                if not chunk:
                    return
                writer.write(chunk)
                await writer.drain()


class NotTraceableError(Exception):
    """This machine does not let us trace a process; the message says why."""


@contextmanager
def main_thread_stopped(pid: int) -> Iterator[None]:
    """Stop a process's main thread wherever it is, and let its others go on, as a system call that hangs does.

    It is for the thread that enters it to leave it: a process is traced by a thread.

    Raises:
        NotTraceableError: see there.
    """
    try:
        _ptrace(_SEIZE, pid)
    except OSError as error:
        raise NotTraceableError(f"a thread alone cannot be stopped here: {error}") from None
    try:
        _ptrace(_INTERRUPT, pid)
        os.waitpid(pid, _WAIT_FOR_ALL)
        yield
    finally:
        with suppress(ProcessLookupError):  # it was killed meanwhile
            _ptrace(_DETACH, pid)


def _ptrace(request: int, pid: int) -> None:
    call = ctypes.CDLL(None, use_errno=True).ptrace
    call.argtypes, call.restype = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p), ctypes.c_long
    if call(request, pid, None, None) == -1:
        raise OSError(ctypes.get_errno(), f"ptrace: {os.strerror(ctypes.get_errno())}")
