"""A worker under load: how to start it with given settings, what the kernel says of it, what its reports say."""

import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import redis

from app.settings import Settings
from app.stack.ports import free_ports
from support.workers import Worker

_TICK = os.sysconf("SC_CLK_TCK")


class Usage(NamedTuple):
    """CPU seconds that a process has used so far, and its memory now in MB."""

    cpu: float
    rss_mb: float


def usage_of(pid: int) -> Usage:
    """Return what the process uses, all zero if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return Usage(0.0, 0.0)
    pages = int(fields[21])
    return Usage((int(fields[11]) + int(fields[12])) / _TICK, pages * os.sysconf("SC_PAGE_SIZE") / 1e6)


def worker_of(settings: Settings, name: str, folder: Path) -> Worker:
    """Return a worker with these settings and a data folder and ports of its own, not started yet."""
    metrics_port, web_port = free_ports(2)
    own = {
        "NT_NODE_ID": name,
        "WORKER_DATA_DIR": str(folder / name),
        "NT_METRICS_PORT": str(metrics_port),
        "WORKER_WEB_PORT": str(web_port),
    }
    return Worker(name, environment(settings) | own, folder / f"{name}.log", web_port, metrics_port)


def environment(settings: Settings) -> dict[str, str]:
    """Return the environment variables that say what differs from the defaults."""
    given = {field.name: getattr(settings, field.name) for field in msgspec.structs.fields(Settings)}
    default = Settings()
    return {
        name.upper(): ",".join(value) if isinstance(value, tuple) else str(value)
        for name, value in given.items()
        if value != getattr(default, name)
    }


class _Provenance(msgspec.Struct):
    offset: int
    gap_count: int
    book_ok: bool

    @property
    def whole(self) -> bool:
        """Whether the book has followed every diff."""
        return self.book_ok and not self.gap_count


class Seen(msgspec.Struct, rename={"updated_at": "updatedAt"}):
    """What matters of a report here; `updated_at` is when it was made, in Unix ms."""

    provenance: _Provenance
    updated_at: int
    data_age_ms: int


_decode_seen = msgspec.json.Decoder(Seen).decode


class ReportLooks:
    """Looks at the reports of `symbols` in Redis, all at once."""

    def __init__(self, url: str, symbols: list[str]) -> None:
        self._client = redis.Redis.from_url(url)
        self._symbols = symbols
        self._keys = [f"report:{symbol}" for symbol in symbols]

    def all(self) -> dict[str, Seen]:
        """Return every report that is there, by symbol."""
        bodies: Any = self._client.mget(self._keys)
        return {symbol: _decode_seen(body) for symbol, body in zip(self._symbols, bodies, strict=True) if body}

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def pause_until(due: float) -> float:
    """Sleep until the monotonic second `due`; return the monotonic time."""
    time.sleep(max(0.0, due - time.monotonic()))
    return time.monotonic()
