"""Faults on request: what goes wrong between an exchange and its clients, over the real protocol.

A fault is a JSON object, `{"fault": "lose", "stream": "btcusdt@depth@100ms", "count": 3}`, sent to
`POST /faults` of the server (loopback only, like all of it) or handed to `Faults.inject`. It takes effect at
once and ends by itself.

| fault       | what happens                                                                           |
|-------------|----------------------------------------------------------------------------------------|
| `lose`      | the next messages of the stream never leave                                            |
| `double`    | each of the next messages leaves twice                                                 |
| `swap`      | each of the next pairs of messages leaves in the wrong order                           |
| `garble`    | the next messages are cut in half, so that they are no JSON                            |
| `hollow`    | the next diffs keep their update ids and lose their bids: sound to every id check      |
| `drop`      | every connection is reset                                                              |
| `mute`      | connections of now stay open and answer pings, and carry nothing else any more         |
| `half_open` | connections of now stay open, and nothing is read from or written to them any more     |
| `stall`     | the stream goes silent for its listeners of now, until they subscribe to it anew       |
| `refuse`    | the next REST requests of the path get this status, with `Retry-After` where given     |
| `slow`      | the next REST requests of the path wait                                                |
| `nonsense`  | the next REST answers of the path are cut in half                                      |

Only what leaves is changed; the market goes on undisturbed, and its book stays the truth.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Annotated, Final, Protocol

import msgspec
from aiohttp import web
from msgspec import Meta
from msgspec.structs import replace

from producer.exchange.messages import DepthUpdate, Message, encode

DEPTH_PATH: Final = "/api/v3/depth"

Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Seconds = Annotated[float, Meta(ge=0, le=3600)]
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Fault(msgspec.Struct, frozen=True, tag_field="fault", forbid_unknown_fields=True):
    pass


class _OnStream(_Fault, frozen=True):
    stream: str
    count: Count = 1


class Lose(_OnStream, frozen=True, tag="lose"):
    """Messages that never leave."""


class Double(_OnStream, frozen=True, tag="double"):
    """Messages that leave twice."""


class Swap(_OnStream, frozen=True, tag="swap"):
    """Pairs that leave in the wrong order."""


class Garble(_OnStream, frozen=True, tag="garble"):
    """Messages that are no JSON."""


class Hollow(_OnStream, frozen=True, tag="hollow"):
    """Diffs without their bids."""


class Drop(_Fault, frozen=True, tag="drop"):
    """Connections that are reset."""


class Mute(_Fault, frozen=True, tag="mute"):
    """Connections that only answer pings."""


class HalfOpen(_Fault, frozen=True, tag="half_open"):
    """Connections whose other end is gone without a word."""


class Stall(_Fault, frozen=True, tag="stall"):
    """A subscription that has died alone."""

    stream: str


class _OnRest(_Fault, frozen=True):
    path: str = DEPTH_PATH
    count: Count = 1


class Refuse(_OnRest, frozen=True, tag="refuse"):
    """Requests that are refused."""

    status: Annotated[int, Meta(ge=400, le=599)] = 429
    retry_after: Annotated[int, Meta(ge=0)] | None = None


class Slow(_OnRest, frozen=True, tag="slow"):
    """Requests that wait."""

    seconds: Seconds = 1.0


class Nonsense(_OnRest, frozen=True, tag="nonsense"):
    """Answers that are no JSON."""


_MessageFault = Lose | Double | Swap | Garble | Hollow
_ConnectionFault = Drop | Mute | HalfOpen | Stall
_RestFault = Refuse | Slow | Nonsense
Fault = _MessageFault | _ConnectionFault | _RestFault

_decode: Final = msgspec.json.Decoder(Fault).decode
_decode_update: Final = msgspec.json.Decoder(DepthUpdate).decode


class Breakable(Protocol):
    """Connections that can go wrong."""

    def reset(self) -> None:
        """End them without a goodbye."""

    def mute(self) -> None:
        """Let them carry pings and pongs only."""

    def half_open(self) -> None:
        """Let them carry nothing, without a word."""

    def stall(self, stream: str) -> None:
        """Let them carry this stream no more until it is subscribed to anew."""


class Faults:
    """The faults of one server that have not taken effect yet."""

    def __init__(self, connections: Breakable) -> None:
        self._connections = connections
        self._on_stream: dict[str, deque[_MessageFault]] = {}
        self._on_rest: dict[str, deque[_RestFault]] = {}
        self._held: dict[str, Message] = {}

    @property
    def pending(self) -> int:
        """Messages that are still to go wrong."""
        return sum(fault.count for faults in self._on_stream.values() for fault in faults) + len(self._held)

    def inject(self, fault: Fault) -> None:
        """Let it happen: connections at once, messages and requests when the next ones come."""
        match fault:
            case Drop():
                self._connections.reset()
            case Mute():
                self._connections.mute()
            case HalfOpen():
                self._connections.half_open()
            case Stall(stream=stream):
                self._connections.stall(stream)
            case Refuse() | Slow() | Nonsense():
                self._on_rest.setdefault(fault.path, deque()).append(fault)
            case _:
                self._on_stream.setdefault(fault.stream, deque()).append(fault)

    def pass_on(self, messages: Iterable[Message]) -> Iterator[Message]:
        """Yield what leaves in place of `messages`."""
        for message in messages:
            if not self._on_stream and not self._held:
                yield message
            else:
                yield from self._changed(message)

    def routes(self) -> list[web.RouteDef]:
        """Return the control endpoint."""
        return [web.post("/faults", self._control)]

    @web.middleware
    async def middleware(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Let REST requests go wrong."""
        fault = _take(self._on_rest, request.path)
        match fault:
            case Refuse(status=status, retry_after=retry_after):
                headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
                body = encode({"code": -1003, "msg": "Too much request weight used; please use WebSocket Streams."})
                return web.Response(status=status, headers=headers, body=body, content_type="application/json")
            case Slow(seconds=seconds):
                await asyncio.sleep(seconds)
        answer = await handler(request)
        if isinstance(fault, Nonsense) and isinstance(answer, web.Response) and isinstance(answer.body, bytes):
            return web.Response(body=answer.body[: len(answer.body) // 2], content_type="application/json")
        return answer

    def _changed(self, message: Message) -> Iterator[Message]:
        held = self._held.pop(message.stream, None)
        if held is not None:
            yield from (message, held)
            return
        match _take(self._on_stream, message.stream):
            case None:
                yield message
            case Lose():
                pass
            case Double():
                yield from (message, message)
            case Swap():
                self._held[message.stream] = message
            case Garble():
                yield replace(message, payload=message.payload[: len(message.payload) // 2])
            case Hollow():
                update = _decode_update(message.payload)
                yield replace(message, payload=encode(replace(update, bids=[])))

    async def _control(self, request: web.Request) -> web.Response:
        try:
            self.inject(_decode(await request.read()))
        except msgspec.DecodeError as error:
            return web.Response(status=400, text=f"{error}\n")
        return web.Response(text="injected\n")


def _take[F: (_MessageFault, _RestFault)](waiting: dict[str, deque[F]], key: str) -> F | None:
    """Return the fault that applies to `key` now, and count it off."""
    faults = waiting.get(key)
    if not faults:
        return None
    fault = faults[0]
    if fault.count > 1:
        faults[0] = replace(fault, count=fault.count - 1)
    else:
        faults.popleft()
        if not faults:
            del waiting[key]
    return fault
