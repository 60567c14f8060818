"""What a reader sees of a change of hands: the reports in Redis, looked at every 5 ms by a thread of this process.

A sighting is one report when it was seen first. All figures are reckoned from the sightings of every symbol,
afterwards and without IO, so that a clock is read only where a report is found and where something is done to a worker.
"""

import threading
import time
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, Self

import msgspec
import redis

from app.stack.errors import StackError

LOOK_SEC = 0.005


class Moment(NamedTuple):
    """One instant on both clocks: monotonic seconds and Unix ms."""

    monotonic: float
    unix_ms: float

    @classmethod
    def now(cls) -> Self:
        """Return this instant."""
        return cls(time.monotonic(), time.time() * 1000)


class Sighting(NamedTuple):
    """One report: who wrote it, when (Unix ms), and when it was seen first (monotonic seconds)."""

    node: str
    written_ms: int
    seen_at: float


History = Mapping[str, Sequence[Sighting]]


def newest(history: History) -> dict[str, Sighting]:
    """Return the last sighting of each symbol that has one."""
    return {symbol: sightings[-1] for symbol, sightings in history.items() if sightings}


def written_by(history: History, node: str) -> set[str]:
    """Return the symbols whose last report is from `node`."""
    return {symbol for symbol, seen in newest(history).items() if seen.node == node}


def fresh_after(history: History, symbols: Collection[str], victim: str, since: Moment) -> dict[str, float]:
    """Return by symbol the seconds from `since` until a report was seen that is newer and not from `victim`.

    A symbol without such a report is left out.
    """
    found = {}
    for symbol in symbols:
        for seen in history[symbol]:
            if seen.node != victim and seen.written_ms > since.unix_ms:
                found[symbol] = seen.seen_at - since.monotonic
                break
    return found


def longest_gaps(history: History, begin: float, end: float) -> dict[str, float]:
    """Return by symbol the longest time between two of its reports that touches `begin` to `end`, in seconds.

    If the last report was seen before `end`, the time from it to `end` counts too.
    """
    gaps = {}
    for symbol, sightings in history.items():
        times = [seen.seen_at for seen in sightings if seen.seen_at <= end] + [end]
        inside = [later - earlier for earlier, later in pairwise(times) if later >= begin]
        gaps[symbol] = max(inside, default=end - begin)
    return gaps


class _Writer(msgspec.Struct, rename={"node": "nodeId"}):
    node: str


class _Report(msgspec.Struct, rename={"written_ms": "updatedAt"}):
    written_ms: int
    writer: _Writer


_decode = msgspec.json.Decoder(_Report).decode


class Watch:
    """Looks at the reports of `symbols`; a context manager, which looks as long as it is open.

    Attributes:
        history: the sightings of each symbol, in order.
        looks: how often all reports were read.
        longest_pause: the longest time between two looks, in seconds: no figure is more precise than that.
        cpu_share: the share of a core that looking takes.
    """

    def __init__(self, url: str, symbols: Sequence[str]) -> None:
        self.history: dict[str, list[Sighting]] = {symbol: [] for symbol in symbols}
        self.looks = 0
        self.longest_pause = 0.0
        self.cpu_share = 0.0
        self._keys = [f"report:{symbol}" for symbol in symbols]
        self._bodies: list[Any] = [None] * len(symbols)
        self._client = redis.Redis.from_url(url)
        self._closing = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join()
        self._client.close()

    def require_well(self) -> None:
        """Raise if Redis could not be read.

        Raises:
            StackError: it could not.
        """
        if self._failure is not None:
            raise StackError(f"the reports in Redis cannot be read: {self._failure}")

    def forget(self) -> None:
        """Keep only the last sighting of each symbol."""
        for sightings in self.history.values():
            del sightings[:-1]

    def _run(self) -> None:
        began, last = time.monotonic(), time.monotonic()
        try:
            while not self._closing.wait(max(0.0, last + LOOK_SEC - time.monotonic())):
                now = time.monotonic()
                self.longest_pause = max(self.longest_pause, now - last) if self.looks else 0.0
                last = now
                self._look()
                self.cpu_share = time.thread_time() / (time.monotonic() - began)
        except (redis.RedisError, msgspec.MsgspecError) as error:
            self._failure = error

    def _look(self) -> None:
        bodies: Any = self._client.mget(self._keys)
        now = time.monotonic()
        self.looks += 1
        for index, (sightings, body) in enumerate(zip(self.history.values(), bodies, strict=True)):
            # Most are those of the last look; to compare bytes is cheaper than to decode them.
            if body is None or body == self._bodies[index]:
                continue
            self._bodies[index] = body
            report = _decode(body)
            if not sightings or (report.writer.node, report.written_ms) != sightings[-1][:2]:
                sightings.append(Sighting(report.writer.node, report.written_ms, now))
