"""Redis with Sentinel on loopback: a master, replicas, and the Sentinels that replace the one by one of the others.

The Sentinels are in a hurry: they call a server down after a second, where their own default is 30.
"""

from contextlib import ExitStack
from pathlib import Path
from typing import Final, Self

from app.stack.ports import LOOPBACK, free_ports
from app.stack.process import Child
from app.stack.redis import RedisServer, ServerTls, accepts, find_redis

MASTER: Final = "mymaster"
_DOWN_AFTER_MS: Final = 1000
_START_LIMIT_SEC: Final = 15.0


class Sentinel:
    """One Sentinel, watching the master at `master_port`; `quorum` of them call it down."""

    def __init__(self, folder: Path, master_port: int, quorum: int, tls: ServerTls | None) -> None:
        (self.port,) = free_ports(1)
        self._tls = tls
        options = {"port": str(self.port)} if tls is None else tls.options(self.port)
        self._file = folder / "sentinel.conf"
        self._text = "\n".join(
            [
                f"bind {LOOPBACK}",
                *(f"{name} {value}" for name, value in options.items()),
                f"sentinel monitor {MASTER} {LOOPBACK} {master_port} {quorum}",
                f"sentinel down-after-milliseconds {MASTER} {_DOWN_AFTER_MS}",
                f"sentinel failover-timeout {MASTER} 3000",
                "",
            ]
        )
        executable, _ = find_redis(tls=tls is not None)
        command = [str(executable), str(self._file), "--sentinel"]
        self.process = Child("sentinel", command, log=folder / "sentinel.log", cwd=folder)

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        if not self._file.exists():  # it keeps what it has learned in there
            self._file.write_text(self._text, encoding="utf-8")
        self.process.start()
        self.process.wait_ready(lambda: accepts(self.port, tls=self._tls is not None), _START_LIMIT_SEC)


class WatchedRedis:
    """A master with `replicas`, and three Sentinels; as a context manager all are started and stopped."""

    def __init__(self, folder: Path, replicas: int = 1, *, tls: ServerTls | None = None) -> None:
        ports = free_ports(1 + replicas)
        self._scheme = "redis+sentinel" if tls is None else "rediss+sentinel"
        self.servers: list[RedisServer] = []
        for number, port in enumerate(ports):
            options = {"repl-diskless-sync-delay": "0"}
            if self.servers:
                options["replicaof"] = f"{LOOPBACK} {ports[0]}"
            self.servers.append(RedisServer(folder / f"redis-{number}", port=port, tls=tls, options=options))
        self.sentinels = [Sentinel(folder / f"sentinel-{number}", ports[0], 2, tls) for number in range(3)]
        self._running = ExitStack()

    @property
    def url(self) -> str:
        """Address for clients."""
        places = ",".join(f"{LOOPBACK}:{each.port}" for each in self.sentinels)
        return f"{self._scheme}://{places}/{MASTER}/0"

    def start(self) -> None:
        """Start all of them."""
        for server in self.servers:
            self._running.callback(server.stop)
            server.start()
        for sentinel in self.sentinels:
            self._running.callback(sentinel.process.stop)
            sentinel.start()

    def stop(self) -> None:
        """Stop all of them."""
        self._running.close()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
