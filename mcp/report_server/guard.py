"""The outermost layer: who may ask, and how often.

With tokens, everything but /health and the files of the board needs one, and who shows none that is valid has ten
attempts a second. With a rate, each client has a bucket that fills with that many requests a second and holds two
seconds' worth; a client is the holder of a token, else an address, of IPv6 the network of 64 bits that a subscriber
has. Clients that were not heard of for longest are forgotten first, so made-up addresses take no more memory than real
ones; while so many ask that some are forgotten before their bucket is full again, newcomers begin with one request.

A web page of another origin gets nothing: there are no CORS headers at all, and the SDK refuses its Origin.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address
from typing import Final

import msgspec
from prometheus_client import Counter
from starlette.types import ASGIApp, Receive, Scope, Send

from report_server import board
from report_server.answers import JSON_TYPE, NOT_STORED, send_response
from report_server.held_streams import HeldStreams
from report_server.tokens import Tokens

_OPEN: Final = frozenset(("/health", "/health/live", "/health/ready"))
_MOST_CLIENTS: Final = 10_000
_BURST_SEC: Final = 2.0
_FAILURES_PER_SEC: Final = 10
_SUBSCRIBER_BITS: Final = 64


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
        known = self._buckets.pop(client, None)
        level = self._level(known, now) if known is not None else self._first(now)
        allowed = level >= 1
        self._buckets[client] = (level - 1 if allowed else level, now)
        return 0.0 if allowed else (1 - level) / self._per_sec

    def _level(self, bucket: tuple[float, float], now: float) -> float:
        level, since = bucket
        return min(self._most, level + (now - since) * self._per_sec)

    def _first(self, now: float) -> float:
        """Return with what a newcomer begins; the one that was not heard of for longest may go for it."""
        if len(self._buckets) < _MOST_CLIENTS:
            return self._most
        _, oldest = self._buckets.popitem(last=False)
        return self._most if self._level(oldest, now) == self._most else 1.0

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
        self._held = HeldStreams(app, tokens) if tokens is not None else None
        self._rate = rate
        self._failures = RateLimit(_FAILURES_PER_SEC)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        holder = authorization = None
        if scope["type"] == "http" and scope["path"] not in _OPEN:
            client = _address(scope)
            authorization = _authorization(scope)
            if self._tokens is not None and not _is_board(scope["path"]):
                holder = self._tokens.holder(authorization)
                if holder is None:
                    return await self._refuse_token(client, send)
                client = f"token {holder}"
            scope.setdefault("state", {})["client"] = client
            if self._rate is not None and (wait := self._rate.wait_sec(client)):
                return await self._refuse_rate(wait, send)
        if scope["type"] == "http" and scope["path"] == "/mcp" and scope["method"] == "GET":
            # A stream that nothing would ever be sent on: calls are answered where they are made.
            return await _refuse(send, 405, "POST to /mcp", (b"allow", b"POST"))
        if holder is not None and self._held is not None:
            return await self._held.run(scope, receive, send, authorization)
        return await self._app(scope, receive, send)

    async def _refuse_token(self, client: str, send: Send) -> None:
        # A holder that shares an address with one that guesses is not held up: only failures count here.
        if wait := self._failures.wait_sec(client):
            return await self._refuse_rate(wait, send)
        self._count("token")
        why = "a valid token is needed: Authorization: Bearer …"
        return await _refuse(send, 401, why, (b"www-authenticate", b"Bearer"))

    async def _refuse_rate(self, wait: float, send: Send) -> None:
        self._count("rate")
        why = "too many requests; try again later"
        await _refuse(send, 429, why, (b"retry-after", b"%d" % max(1, round(wait))))

    def _count(self, reason: str) -> None:
        if self._refused is not None:
            self._refused.labels(reason).inc()


def _is_board(path: str) -> bool:
    return path == "/" or path.startswith(board.PREFIX)


def _address(scope: Scope) -> str:
    client = scope.get("client")
    address: str = client[0] if client else ""
    if ":" not in address:
        return address
    try:
        found = IPv6Address(address)
    except ValueError:
        return address
    return str(found.ipv4_mapped or IPv6Address(int(found) >> _SUBSCRIBER_BITS << _SUBSCRIBER_BITS))


def _authorization(scope: Scope) -> bytes | None:
    values = [value for name, value in scope["headers"] if name == b"authorization"]
    return values[0] if len(values) == 1 else None


async def _refuse(send: Send, status: int, why: str, header: tuple[bytes, bytes]) -> None:
    await send_response(send, status, [JSON_TYPE, NOT_STORED, header], msgspec.json.encode({"error": why}))
