"""The outermost layer: who may ask, and how often.

With tokens, everything but /health and the files of the board needs one. With a rate, each client has a bucket that
fills with that many requests a second and holds two seconds' worth; a client is the holder of a token, else an
address. Clients that were not heard of for longest are forgotten first, so made-up addresses take no more memory than
real ones.

A web page of another origin gets nothing: there are no CORS headers at all, and the SDK refuses its Origin.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec
from prometheus_client import Counter
from starlette.types import ASGIApp, Receive, Scope, Send

from report_server import board
from report_server.answers import JSON_TYPE, NOT_STORED, send_response
from report_server.tokens import Tokens

_OPEN: Final = frozenset(("/health", "/health/live", "/health/ready"))
_MOST_CLIENTS: Final = 10_000
_BURST_SEC: Final = 2.0


class RateLimit:
    """Buckets of requests: `per_sec` flow in, two seconds' worth at most are kept."""

    def __init__(self, per_sec: int, now: Callable[[], float] = time.monotonic) -> None:
        self._per_sec = per_sec
        self._most = per_sec * _BURST_SEC
        self._now = now
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_sec(self, client: str) -> float:
        """Take one request of `client`; return 0 if there was one, else the seconds until there is."""
        now = self._now()
        level, since = self._buckets.pop(client, (self._most, now))
        level = min(self._most, level + (now - since) * self._per_sec)
        allowed = level >= 1
        self._buckets[client] = (level - 1 if allowed else level, now)
        if len(self._buckets) > _MOST_CLIENTS:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1 - level) / self._per_sec

    def __len__(self) -> int:
        return len(self._buckets)


class Guard:
    """ASGI layer in front of everything; without tokens or a rate it lets everything pass."""

    def __init__(
        self, app: ASGIApp, tokens: Tokens | None, rate: RateLimit | None, refused: Counter | None = None
    ) -> None:
        self._app = app
        self._refused = refused
        self._tokens = tokens
        self._rate = rate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "http" and scope["path"] not in _OPEN:
            client = _address(scope)
            if self._tokens is not None and not _is_board(scope["path"]):
                holder = self._tokens.holder(_authorization(scope))
                if holder is None:
                    self._count("token")
                    why = "a valid token is needed: Authorization: Bearer …"
                    return await _refuse(send, 401, why, (b"www-authenticate", b"Bearer"))
                client = f"token {holder}"
            if self._rate is not None and (wait := self._rate.wait_sec(client)):
                self._count("rate")
                why = "too many requests; try again later"
                return await _refuse(send, 429, why, (b"retry-after", b"%d" % max(1, round(wait))))
        if scope["type"] == "http" and scope["path"] == "/mcp" and scope["method"] == "GET":
            # A stream that nothing would ever be sent on: calls are answered where they are made.
            return await _refuse(send, 405, "POST to /mcp", (b"allow", b"POST"))
        return await self._app(scope, receive, send)

    def _count(self, reason: str) -> None:
        if self._refused is not None:
            self._refused.labels(reason).inc()


def _is_board(path: str) -> bool:
    return path == "/" or path.startswith(board.PREFIX)


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else ""


def _authorization(scope: Scope) -> bytes | None:
    values = [value for name, value in scope["headers"] if name == b"authorization"]
    return values[0] if len(values) == 1 else None


async def _refuse(send: Send, status: int, why: str, header: tuple[bytes, bytes]) -> None:
    await send_response(send, status, [JSON_TYPE, NOT_STORED, header], msgspec.json.encode({"error": why}))
