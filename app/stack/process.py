"""Child processes that are ready when they say so and never outlive us.

Each child runs in a session of its own, so that Ctrl-C reaches only the program that stops the children in
order, and a stop can end all that a child has started. Its output goes to a log file, whose end is in the
error when it does not come up. On Linux the kernel kills it when this process dies (see `tied`).

The kernel watches the *thread* that made the child, not the process. So all children are made by one thread
that lives as long as the process; otherwise a child started through `asyncio.to_thread` could die at random.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Self

from app.stack.errors import StackError

_SPAWNER: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")
_TIED: Final = Path(__file__).with_name("tied.py")
_POLL_SEC: Final = 0.02
_TAIL_BYTES: Final = 16_384


class Child:
    """One child process; it may be started again after it has ended, with the same log.

    Args:
        name: what messages call it.
        command: program and arguments.
        log: file that takes stdout and stderr, appended to.
        env: variables set on top of this process's environment.
        cwd: working directory, this process's own by default.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._command = [str(part) for part in command]
        self._env = env or {}
        self._cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None
        self._log_from = 0

    @property
    def pid(self) -> int:
        """Process id, also that of the child's process group; the last one when it has ended."""
        if self._process is None:
            raise StackError(f"{self.name} was never started")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process exists."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Exit code, -N when signal N ended it, None while it runs or before the first start."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Start the process, without waiting until it is ready."""
        if self.running:
            raise StackError(f"{self.name} runs already, as process {self.pid}")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._process = _SPAWNER.submit(self._spawn).result()

    def wait_ready(self, ready: Callable[[], bool], timeout: float) -> float:
        """Return the seconds until `ready()` was true; it is asked every 20 ms.

        The process is killed when that fails, whatever the reason.

        Raises:
            StackError: it ended first, or was not ready within `timeout` seconds; with the log's last lines.
        """
        started = time.monotonic()
        try:
            while not ready():
                if not self.running:
                    raise self._failed(f"ended with exit code {self.exit_code} before it was ready")
                if time.monotonic() - started > timeout:
                    raise self._failed(f"was not ready after {timeout:g} s")
                time.sleep(_POLL_SEC)
        except BaseException:
            self.kill()
            raise
        return time.monotonic() - started

    def request_stop(self) -> None:
        """Send SIGTERM and return at once, so that several children can end at the same time."""
        if self._process is not None:
            self._process.terminate()

    def stop(self, limit: float = 10.0) -> int | None:
        """Stop it: SIGTERM, and SIGKILL for all of its process group that is left after `limit` seconds.

        Returns:
            The exit code, -9 if it had to be killed; None if it was never started.
        """
        self.request_stop()
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(limit)
        return self.kill()

    def kill(self) -> int | None:
        """Send SIGKILL to the whole process group, wait for the end and return the exit code."""
        if self._process is None:
            return None
        # Also when the process itself has ended: what it started may still be there.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        return self._process.wait()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let its whole process group stand still, as a host would that hangs."""
        os.killpg(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            with suppress(ProcessLookupError):  # it was killed meanwhile
                os.killpg(self.pid, signal.SIGCONT)

    def log_tail(self, lines: int = 15) -> str:
        """Return the last lines logged since the latest start."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            log.seek(max(self._log_from, self.log.stat().st_size - _TAIL_BYTES))
            text = log.read().decode(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def __enter__(self) -> Self:
        if not self.running:
            self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _spawn(self) -> subprocess.Popen[bytes]:
        tied = [sys.executable, "-I", "-S", str(_TIED), str(os.getpid()), *self._command]
        with self.log.open("ab") as log:
            self._log_from = log.tell()
            return subprocess.Popen(  # noqa: S603
                tied,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self._env},
                cwd=self._cwd,
                start_new_session=True,
            )

    def _failed(self, what: str) -> StackError:
        tail = self.log_tail()
        shown = f"; the last lines of {self.log}:\n{tail}" if tail else f" and wrote nothing to {self.log}"
        return StackError(f"{self.name} {what}{shown}")
