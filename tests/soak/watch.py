"""Looks at every report in Redis, again and again, as a reader would, and hands what changed to the judge."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from soak.gaps import Pause
from soak.judge import Judge

_LOOK_SEC: Final = 0.04
_PAUSE_SEC: Final = 0.2


class Watch:
    """A thread that looks until the context ends; it goes on when Redis is away.

    Attributes:
        pauses: when it did not get to look for more than 0.2 s although it wanted to, because the machine was busy.
        failure: why it ended early.
    """

    def __init__(self, url: str, symbols: Sequence[str], judge: Judge) -> None:
        self._symbols = symbols
        self._judge = judge
        self._client = redis.Redis.from_url(url, socket_timeout=1.0, retry=Retry(NoBackoff(), 0))
        self._bodies: dict[str, bytes] = {}
        self._fresh_at = dict.fromkeys(symbols, 0.0)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="soak-watch", daemon=True)
        self.pauses: list[Pause] = []
        self.failure: Exception | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join()
        self._client.close()

    def waiting(self, limit: float = 1.0) -> list[str]:
        """Return the symbols that have had no new report with fresh data for `limit` seconds."""
        now = time.monotonic()
        return [symbol for symbol, at in self._fresh_at.items() if now - at > limit]

    def wait_fresh(self, limit: float, look: Callable[[], None] = lambda: None) -> bool:
        """Wait until no symbol waits, at most `limit` seconds; `look` is called now and then."""
        deadline = time.monotonic() + limit
        while self.waiting():
            if time.monotonic() > deadline:
                return False
            look()
            time.sleep(0.1)
        return True

    def _run(self) -> None:
        due = time.monotonic()
        while not self._closing.wait(max(0.0, due - time.monotonic())):
            now = time.monotonic()
            if now - due > _PAUSE_SEC:
                self.pauses.append(Pause(due, now))
            due = now + _LOOK_SEC
            try:
                found: Any = self._client.mget(self._keys())
            except redis.RedisError:
                # Which is a fault of Redis, with a window of its own; the wait for it is no pause of ours.
                due = time.monotonic() + _LOOK_SEC
                continue
            try:
                self._take(time.monotonic(), found)
            except Exception as error:
                self.failure = error
                raise

    def _keys(self) -> list[str]:
        return [f"{kind}:{symbol}" for kind in ("report", "report:writer:token") for symbol in self._symbols]

    def _take(self, at: float, found: Sequence[bytes | None]) -> None:
        bodies, tokens = found[: len(self._symbols)], found[len(self._symbols) :]
        for symbol, body, token in zip(self._symbols, bodies, tokens, strict=True):
            if token is not None:
                self._judge.token(at, symbol, token)
            if body is not None and body != self._bodies.get(symbol):
                self._bodies[symbol] = body
                self._judge.report(at, symbol, body)
                seen = self._judge.seen.get(symbol)
                if seen and seen[-1].at == at and seen[-1].status == "ok":
                    self._fresh_at[symbol] = at

    def last_bodies(self) -> dict[str, bytes]:
        """Return the newest report of each symbol as it was found."""
        return dict(self._bodies)
